// Compares bitcoin-support with Core's own pool when locked memory is scarce. Runs every cell of a grid of limits,
// thread counts and patterns of allocations on both pools, each in a separate process (the program in
// scarce_cell.cpp), and prints where bitcoin-support is worse. It calls neither pool itself.
//
// A point of a cell is worse when, on bitcoin-support,
//   unlocked    more live bytes are not locked than on Core's pool (Core's failed allocations count as not locked);
//   locked      more bytes are locked than 1.10 times those of Core's pool plus 32 KiB for each active thread;
//   failed      more allocations have failed;
//   statistics  the pool's statistics differ from the kernel's figures.
// A thread is active at a point when it has called the pool since the last phase of the pattern began.
//
// The pools place chunks differently, so where a pattern makes random decisions near the limit, it is chance which of
// the two has a free chunk of the right size at the right moment. If such a cell is worse, it runs again on both pools
// with other random decisions (SEEDS), and is worse on average if the mean of what is too much is more than twice its
// standard error. The first run is not one of these: it was chosen for being worse. What is worse on average runs
// again with yet other decisions (SEEDS_AGAIN) and must be so again. It is a failure if a cell is worse on
// average, if an allocation failed on bitcoin-support alone in any run, or if statistics were not the kernel's.
//
// The part "grid" runs these cells. The other parts:
//   packing   locked bytes of 100 000 chunks of one size without a limit: at most 1.02 of Core's, 1.01 up to 64 bytes;
//   hoarding  free memory serves other uses, and is returned to the system where there is no limit (HOARD_SLACK);
//   mappings  of 2 GiB in chunks of 5000 bytes: no more than on Core's pool;
//   cliffs    times, with many threads and at the limit: printed, and never a reason to fail.

#include "bench_report.h"

#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr size_t KIB{1024}, MIB{1024 * KIB};
constexpr size_t NO_LIMIT{SIZE_MAX};

/** Bytes that may stay locked while no chunk is in use. */
constexpr size_t HOARD_SLACK{1 * MIB};

struct Options {
    bool quick{false}, control{false};
    /** The pools change places: Core's is judged by bitcoin-support's. */
    bool swap{false};
    std::string filter, csv, figures, directory;
    /** Empty for all parts. */
    std::string part;
    /** One of every so many cells is run. */
    size_t every{1};
    size_t jobs{2}, rows{40};
};

// ---- Cells -------------------------------------------------------------------------

struct Cell {
    size_t limit, threads;
    std::string pattern;

    std::string Arguments() const { return (limit == NO_LIMIT ? "none" : std::to_string(limit)) + " " + std::to_string(threads) + " " + pattern; }
    /** The name of the cell's row, such as "churn". */
    std::string Kind() const { return pattern.substr(0, pattern.find(' ')); }
    /** Whether the pattern makes random decisions. */
    bool IsRandom() const { return Kind() != "one" && Kind() != "each"; }
};

/** What one process printed at one point. */
struct Mark {
    std::string label;
    size_t active{0}, live{0}, chunks{0}, unlocked{0}, vmlck{0}, failed{0};
    std::string wrong;
};

struct Outcome {
    std::vector<Mark> marks;
    std::map<std::string, double> values;
    /** Why the process could not run the cell. */
    std::string skipped;
    /** How the process ended, if it did not end well. */
    std::string error;
    bool limit_kept_by_program{false};
};

size_t Field(const std::string& line, const std::string& name)
{
    const size_t at{line.find(" " + name + "=")};
    return at == std::string::npos ? 0 : std::strtoull(line.c_str() + at + name.size() + 2, nullptr, 10);
}

Outcome Run(const std::string& command)
{
    Outcome outcome;
    std::FILE* const output{popen(command.c_str(), "r")};
    if (!output) {
        outcome.error = "cannot be run";
        return outcome;
    }
    for (char text[1024]; std::fgets(text, sizeof text, output);) {
        std::string line{text};
        line.erase(line.find_last_not_of('\n') + 1);
        if (line.rfind("skipped: ", 0) == 0) outcome.skipped = line.substr(9);
        if (line == "limit program") outcome.limit_kept_by_program = true;
        if (line.rfind("value ", 0) == 0) {
            const size_t space{line.find(' ', 6)};
            outcome.values[line.substr(6, space - 6)] = std::strtod(line.c_str() + space, nullptr);
        }
        if (line.rfind("mark ", 0) != 0) continue;
        Mark mark;
        mark.label = line.substr(5, line.find(' ', 5) - 5);
        mark.active = Field(line, "active");
        mark.live = Field(line, "live");
        mark.chunks = Field(line, "chunks");
        mark.unlocked = Field(line, "unlocked");
        mark.vmlck = Field(line, "vmlck");
        mark.failed = Field(line, "failed");
        const size_t wrong{line.find(" wrong=")};
        if (wrong != std::string::npos) mark.wrong = line.substr(wrong + 7);
        if (mark.wrong == "-") mark.wrong.clear();
        outcome.marks.push_back(mark);
    }
    const int status{pclose(output)};
    if (status != 0) {
        outcome.error = WIFEXITED(status) ? "ended with status " + std::to_string(WEXITSTATUS(status)) : "ended by signal " + std::to_string(WTERMSIG(status));
    } else if (outcome.marks.empty() && outcome.values.empty() && outcome.skipped.empty()) {
        outcome.error = "printed nothing";
    }
    return outcome;
}

// ---- The grid ------------------------------------------------------------------------

std::vector<Cell> Grid(bool quick)
{
    std::vector<Cell> cells;
    const std::vector<size_t> limits{quick ? std::vector<size_t>{64 * KIB, 256 * KIB, 8 * MIB, NO_LIMIT} :
                                             std::vector<size_t>{16 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 1 * MIB, 8 * MIB, 64 * MIB, NO_LIMIT}};
    const std::vector<size_t> thread_counts{quick ? std::vector<size_t>{1, 20, 100} : std::vector<size_t>{1, 4, 20, 100, 200}};
    const std::vector<size_t> sizes{quick ? std::vector<size_t>{16, 80, 2049, 5000, 32769} :
                                            std::vector<size_t>{1, 16, 17, 33, 48, 64, 80, 112, 150, 200, 300, 450, 700, 1024, 1025, 1500, 2048, 2049, 3000, 4096,
                                                                4097, 5000, 6500, 8192, 8193, 12000, 16385, 24000, 32769, 50000, 65537, 100000, 131073, 200000, 262144}};
    const std::vector<const char*> levels{quick ? std::vector<const char*>{"90"} : std::vector<const char*>{"50", "90", "98", "110"}};
    for (const size_t limit : limits) {
        for (const size_t threads : thread_counts) {
            const auto add{[&](const std::string& pattern) { cells.push_back({limit, threads, pattern}); }};
            const bool large{limit == 64 * MIB};
            for (const size_t size : sizes) {
                // Core's pool needs many seconds for millions of chunks, so one thread count is enough.
                if (quick && size == 16 && threads != 1) continue;
                if (large && size < 80 && (threads != 20 || size == 1 || size == 17)) continue;
                // With more threads than chunks, the others would be idle.
                if (limit != NO_LIMIT && threads > 1 && limit / size * 2 < threads) continue;
                add("one " + std::to_string(size));
            }
            for (const char* const order : {"interleaved", "ascending", "descending"}) {
                if (quick && std::strcmp(order, "descending") == 0) continue;
                add(std::string{"each "} + order);
            }
            for (const char* const level : levels) {
                if (limit == NO_LIMIT && std::strcmp(level, "90") != 0) continue;
                for (const char* const most : {"random256", "random2048", "random16384"}) {
                    if (quick && std::strcmp(most, "random2048") == 0) continue;
                    add(std::string{"churn "} + most + " " + level);
                    if (std::strcmp(level, "90") == 0 && std::strcmp(most, "random2048") == 0 && threads > 1 && !quick) add(std::string{"rush "} + most + " " + level);
                }
                add(std::string{"wallet "} + level);
            }
            const std::pair<const char*, const char*> populations[]{
                {"random256", "random16384"}, {"random16384", "random256"}, {"64", "2048"}, {"2048", "64"}, {"48", "5000"}, {"5000", "48"}, {"classes", "4096"}};
            for (const auto& [before, after] : populations) {
                for (const char* const who : {"own", "other", "ended"}) {
                    for (const char* const next : {"all", "one"}) {
                        const bool first{before == populations[0].first || before == populations[6].first};
                        if (quick && (!first || std::strcmp(who, "other") != 0 || std::strcmp(next, "one") != 0)) continue;
                        // All ways to free and to continue for two populations, two ways for the others.
                        const bool common{std::strcmp(next, who[1] == 'w' ? "all" : "one") == 0 && std::strcmp(who, "ended") != 0};
                        if (!first && (large || !common)) continue;
                        if (threads == 1 && (std::strcmp(who, "other") == 0 || std::strcmp(next, "one") == 0)) continue;
                        add(std::string{"burst "} + before + " " + after + " " + who + " " + next);
                    }
                }
            }
        }
    }
    return cells;
}

// ---- Judgement -----------------------------------------------------------------------

struct Worse {
    size_t cell;
    std::string label, reasons;
    Mark ours, core;
    /** Bytes above the allowed number, for the order of the table. */
    size_t excess{0};
};

size_t AllowedLocked(const Mark& ours, const Mark& core) { return core.vmlck + core.vmlck / 10 + 32 * KIB * ours.active; }

/** How many runs with other random decisions tell whether a cell is worse on average, and how many confirm that. */
constexpr size_t SEEDS{15}, SEEDS_AGAIN{45};

/** Bytes that are too many at a point, over several runs. Negative: fewer than allowed. */
class TooMany
{
public:
    void Add(double bytes)
    {
        ++count;
        sum += bytes;
        squares += bytes * bytes;
    }
    double Mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
    /** The standard error of the mean. */
    double Error() const
    {
        if (count < 2) return 0;
        const auto n{static_cast<double>(count)};
        return std::sqrt(std::max(0.0, squares - sum * sum / n) / (n - 1) / n);
    }
    bool IsSignificant() const { return Mean() > 0 && Mean() > 2 * Error(); }

private:
    size_t count{0};
    double sum{0}, squares{0};
};

double Difference(size_t a, size_t b) { return static_cast<double>(a) - static_cast<double>(b); }

/**
 * What Core's pool left unlocked, and the bytes that only bitcoin-support served: these are no worse for being
 * unlocked, as Core's pool has refused them.
 */
size_t CoreUnlocked(const Mark& ours, const Mark& core)
{
    return core.unlocked + (ours.live > core.live ? ours.live - core.live : 0);
}

/** Compares two points. `reasons` is empty if bitcoin-support is not worse. */
Worse Judge(size_t cell, const Mark& ours, const Mark& core)
{
    Worse worse{cell, ours.label, {}, ours, core, 0};
    const auto add{[&](const std::string& reason, size_t excess) {
        worse.reasons += (worse.reasons.empty() ? "" : " ") + reason;
        worse.excess = std::max(worse.excess, excess);
    }};
    const size_t core_unlocked{CoreUnlocked(ours, core)};
    if (ours.unlocked > core_unlocked) add("unlocked", ours.unlocked - core_unlocked);
    if (ours.vmlck > AllowedLocked(ours, core)) add("locked", ours.vmlck - AllowedLocked(ours, core));
    if (ours.failed > core.failed) add("failed", 1);
    if (!ours.wrong.empty()) add("statistics(" + ours.wrong + ")", 1);
    return worse;
}

std::string Size(size_t bytes)
{
    if (bytes == NO_LIMIT) return "none";
    if (bytes >= MIB && bytes % MIB == 0) return std::to_string(bytes / MIB) + " MiB";
    return std::to_string(bytes / KIB) + " KiB";
}

class Bench
{
public:
    explicit Bench(const Options& options_in) : options{options_in} {}

    int Compare()
    {
        size_t number{0};
        for (const Cell& cell : Grid(options.quick)) {
            if (cell.Arguments().find(options.filter) != std::string::npos && number++ % options.every == 0) cells.push_back(cell);
        }
        if (cells.empty()) {
            std::fprintf(stderr, "no cell has \"%s\" in its arguments\n", options.filter.c_str());
            return 2;
        }
        results.resize(cells.size());
        const auto start{bench::Clock::now()};
        std::vector<std::thread> threads;
        for (size_t i{0}; i < options.jobs; ++i) threads.emplace_back([this] { Work(); });
        for (std::thread& thread : threads) thread.join();
        WriteCsv();
        return Report(bench::NanosecondsSince(start) / 1e9);
    }

private:
    struct Result {
        Outcome ours, core;
        /** Of the first run. */
        std::vector<Worse> worse;
        /** On average over the runs with other random decisions; of the first run, if the pattern makes none. */
        std::vector<Worse> worse_on_average;
        /** By point, if there were such runs: the means and standard errors of what was too much. */
        std::vector<std::string> averages;
    };
    const Options options;
    std::vector<Cell> cells;
    std::vector<Result> results;
    std::atomic<size_t> next{0};

    std::string Command(const char* program, const Cell& cell, const std::string& option = {}) const
    {
        return options.directory + program + " " + option + cell.Arguments();
    }
    Outcome RunOurs(const Cell& cell, const std::string& option = {}) const
    {
        return Run(Command(options.swap ? "scarce_cell_core" : "scarce_cell", cell, (options.control ? "--control " : "") + option));
    }
    Outcome RunCore(const Cell& cell, const std::string& option = {}) const
    {
        return Run(Command(options.swap ? "scarce_cell" : "scarce_cell_core", cell, option));
    }

    void Work()
    {
        for (size_t i; (i = next++) < cells.size();) {
            Result& result{results[i]};
            result.ours = RunOurs(cells[i]);
            if (!result.ours.skipped.empty()) continue;
            result.core = RunCore(cells[i]);
            if (!AreComparable(result.ours, result.core)) continue;
            for (size_t point{0}; point < result.ours.marks.size(); ++point) {
                const Worse worse{Judge(i, result.ours.marks[point], result.core.marks[point])};
                if (!worse.reasons.empty()) result.worse.push_back(worse);
            }
            result.worse_on_average = result.worse;
            const bool is_by_chance{std::all_of(result.worse.begin(), result.worse.end(), [](const Worse& w) {
                return w.ours.failed <= w.core.failed && w.ours.wrong.empty();
            })};
            if (!result.worse.empty() && is_by_chance && cells[i].IsRandom() && !options.control) {
                result.worse_on_average = OnAverage(i, 1, SEEDS);
                if (!result.worse_on_average.empty()) result.worse_on_average = OnAverage(i, 1 + SEEDS, SEEDS_AGAIN);
            }
        }
    }

    /** Whether both ran, and came to the same points. If not, `ours` says why. */
    static bool AreComparable(Outcome& ours, const Outcome& core)
    {
        if (!ours.error.empty() || !core.error.empty()) return false;
        if (ours.marks.size() == core.marks.size()) return true;
        ours.error = "the two programs went different ways";
        return false;
    }

    /** Runs a cell with other random decisions. Returns the points that are worse on average. */
    std::vector<Worse> OnAverage(size_t i, size_t first_seed, size_t seeds)
    {
        Result& result{results[i]};
        const size_t points{result.ours.marks.size()};
        std::vector<TooMany> unlocked(points), locked(points);
        for (size_t seed{first_seed}; seed < first_seed + seeds; ++seed) {
            const std::string option{"--seed " + std::to_string(seed) + " "};
            Outcome ours{RunOurs(cells[i], option)};
            const Outcome core{RunCore(cells[i], option)};
            if (!AreComparable(ours, core) || ours.marks.size() != points) {
                result.ours.error = option + ours.error + core.error;
                return {};
            }
            for (size_t point{0}; point < points; ++point) {
                const Mark &our_mark{ours.marks[point]}, &core_mark{core.marks[point]};
                unlocked[point].Add(Difference(our_mark.unlocked, CoreUnlocked(our_mark, core_mark)));
                locked[point].Add(Difference(our_mark.vmlck, AllowedLocked(our_mark, core_mark)));
                if (our_mark.failed > core_mark.failed) result.ours.error += option + our_mark.label + ": an allocation failed; ";
                if (!our_mark.wrong.empty()) result.ours.error += option + our_mark.label + ": statistics(" + our_mark.wrong + "); ";
            }
        }
        std::vector<Worse> worse;
        result.averages.assign(points, {});
        for (size_t point{0}; point < points; ++point) {
            Worse each{i, result.ours.marks[point].label, {}, result.ours.marks[point], result.core.marks[point], 0};
            const auto add{[&](const char* reason, const TooMany& bytes) {
                char text[128];
                std::snprintf(text, sizeof text, " %s (%+.1f KiB, s.e. %.1f, %zu runs)", reason, bytes.Mean() / 1024, bytes.Error() / 1024, seeds);
                result.averages[point] += text;
                if (!bytes.IsSignificant()) return;
                each.reasons += text;
                each.excess = std::max(each.excess, static_cast<size_t>(bytes.Mean()));
            }};
            add("unlocked", unlocked[point]);
            add("locked", locked[point]);
            if (!each.reasons.empty()) worse.push_back(each);
        }
        return worse;
    }

    void WriteCsv() const
    {
        if (options.csv.empty()) return;
        std::FILE* const file{std::fopen(options.csv.c_str(), "w")};
        if (!file) {
            std::perror(options.csv.c_str());
            std::exit(EXIT_FAILURE);
        }
        std::fprintf(file, "limit,threads,pattern,point,active,live,unlocked,core_unlocked,locked,core_locked,failed,core_failed,statistics,worse,averages\n");
        for (size_t i{0}; i < cells.size(); ++i) {
            const Result& result{results[i]};
            for (size_t point{0}; point < result.ours.marks.size() && point < result.core.marks.size(); ++point) {
                const Mark &ours{result.ours.marks[point]}, &core{result.core.marks[point]};
                std::fprintf(file, "%s,%zu,%s,%s,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu,\"%s\",\"%s\",\"%s\"\n",
                             cells[i].limit == NO_LIMIT ? "none" : std::to_string(cells[i].limit).c_str(), cells[i].threads, cells[i].pattern.c_str(),
                             ours.label.c_str(), ours.active, ours.live, ours.unlocked, core.unlocked, ours.vmlck, core.vmlck, ours.failed, core.failed,
                             ours.wrong.c_str(), Judge(i, ours, core).reasons.c_str(), point < result.averages.size() ? result.averages[point].c_str() : "");
            }
        }
        std::fclose(file);
    }

    int Report(double seconds) const
    {
        struct Total {
            size_t cells{0}, points{0}, worse_cells{0}, worse_on_average{0};
            std::map<std::string, size_t> reasons;
        };
        std::map<std::string, Total> by_kind, by_limit;
        std::map<std::string, size_t> skipped;
        std::vector<Worse> worse;
        std::vector<std::string> errors;
        Total all;
        size_t kept_by_program{0}, ours_unlocked{0}, core_unlocked{0};
        for (size_t i{0}; i < cells.size(); ++i) {
            const Result& result{results[i]};
            if (!result.ours.skipped.empty() || !result.core.skipped.empty()) {
                ++skipped[result.ours.skipped.empty() ? result.core.skipped : result.ours.skipped];
                continue;
            }
            if (!result.ours.error.empty()) errors.push_back(Command("scarce_cell", cells[i]) + ": " + result.ours.error);
            if (!result.core.error.empty()) errors.push_back(Command("scarce_cell_core", cells[i]) + ": " + result.core.error);
            kept_by_program += result.ours.limit_kept_by_program;
            for (Total* const total : {&all, &by_kind[cells[i].Kind()], &by_limit[Size(cells[i].limit)]}) {
                ++total->cells;
                total->points += result.ours.marks.size();
                total->worse_cells += !result.worse.empty();
                total->worse_on_average += !result.worse_on_average.empty();
                for (const Worse& each : result.worse_on_average) {
                    for (const char* const reason : {"unlocked", "locked", "failed", "statistics"}) {
                        const std::string padded{" " + each.reasons};
                        if (padded.find(std::string{" "} + reason) != std::string::npos) ++total->reasons[reason];
                    }
                }
            }
            for (const Mark& mark : result.ours.marks) ours_unlocked += mark.unlocked;
            for (const Mark& mark : result.core.marks) core_unlocked += mark.unlocked;
            worse.insert(worse.end(), result.worse_on_average.begin(), result.worse_on_average.end());
        }

        const auto line{[](const std::string& name, const Total& total) {
            const auto count{[&](const char* reason) {
                const auto found{total.reasons.find(reason)};
                return found == total.reasons.end() ? 0 : found->second;
            }};
            std::printf("%-12s %6zu %7zu %9zu %11zu | %9zu %7zu %7zu %11zu\n", name.c_str(), total.cells, total.points, total.worse_cells, total.worse_on_average,
                        count("unlocked"), count("locked"), count("failed"), count("statistics"));
        }};
        std::printf("%-12s %6s %7s %9s %11s | %9s %7s %7s %11s\n%-12s %6s %7s %9s %11s | %s\n", "", "cells", "points", "worse in", "worse on", "unlocked", "locked", "failed",
                    "statistics", "", "", "", "first run", "average", "points that are worse on average");
        for (const auto& [kind, total] : by_kind) line(kind, total);
        for (const size_t limit : {16 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 1 * MIB, 8 * MIB, 64 * MIB, NO_LIMIT}) {
            const auto found{by_limit.find(Size(limit))};
            if (found != by_limit.end()) line(found->first == "none" ? "no limit" : found->first, found->second);
        }
        line("all", all);

        std::stable_sort(worse.begin(), worse.end(), [](const Worse& a, const Worse& b) { return a.excess > b.excess; });
        if (!worse.empty()) {
            std::printf("\nWorse than Core's pool on average%s; KiB, bitcoin-support / Core in the first run:\n%10s %10s %15s %15s %9s  %s\n",
                        worse.size() > options.rows ? (" (the " + std::to_string(options.rows) + " worst of " + std::to_string(worse.size()) + " points)").c_str() : "",
                        "excess", "live", "unlocked", "locked", "failed", "why, where: arguments of scarce_cell");
        }
        for (size_t i{0}; i < worse.size() && i < options.rows; ++i) {
            const Worse& w{worse[i]};
            const auto pair{[](size_t ours, size_t core, size_t unit) {
                char text[64];
                std::snprintf(text, sizeof text, unit == 1 ? "%.0f/%.0f" : "%.1f/%.1f", static_cast<double>(ours) / static_cast<double>(unit), static_cast<double>(core) / static_cast<double>(unit));
                return std::string{text};
            }};
            std::printf("%10.1f %10.1f %15s %15s %9s  %s, %s: %s\n", static_cast<double>(w.excess) / 1024, static_cast<double>(w.ours.live) / 1024,
                        pair(w.ours.unlocked, w.core.unlocked, KIB).c_str(), pair(w.ours.vmlck, w.core.vmlck, KIB).c_str(), pair(w.ours.failed, w.core.failed, 1).c_str(),
                        w.reasons.c_str(), w.label.c_str(), cells[w.cell].Arguments().c_str());
        }
        for (const std::string& error : errors) std::printf("error: %s\n", error.c_str());
        size_t cells_skipped{0};
        for (const auto& [why, count] : skipped) {
            cells_skipped += count;
            std::printf("skipped: %s (%zu of %zu cells)\n", why.c_str(), count, cells.size());
        }
        if (cells_skipped == cells.size()) {
            std::printf("skipped: all cells\n");
            return EXIT_SUCCESS;
        }
        if (kept_by_program != 0) {
            std::printf("%zu cells: this user may not raise the limit so far, so the program keeps to it in the kernel's place\n", kept_by_program);
        }
        std::printf("\n%zu cells, %zu points; %zu cells worse in the first run, %zu on average; %zu errors; live KiB not locked, all points together: bitcoin-support %zu, Core %zu; %.0f s\n",
                    all.cells, all.points, all.worse_cells, all.worse_on_average, errors.size(), ours_unlocked / KIB, core_unlocked / KIB, seconds);
        if (options.swap) {
            const bool noticed{errors.empty() && all.worse_on_average != 0};
            std::printf(noticed ? "Core's pool is worse on average\n" : "Core's pool is not worse on average\n");
            return noticed ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        if (options.control) {
            bool noticed{errors.empty()};
            for (const char* const reason : {"unlocked", "locked", "failed", "statistics"}) noticed = noticed && all.reasons[reason] != 0;
            std::printf(noticed ? "all four kinds of worse cells are noticed\n" : "not all four kinds of worse cells are noticed\n");
            return noticed ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        return worse.empty() && errors.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
    }
};

// ---- The other parts --------------------------------------------------------------------

/** The parts besides the grid. Each returns how often bitcoin-support was worse than allowed. */
class Parts
{
public:
    Parts(const Options& options_in, bench::Csv& csv_in) : options{options_in}, csv{csv_in} {}

    size_t Packing()
    {
        std::vector<size_t> sizes{16, 33, 48, 64, 65, 80, 100, 112, 300, 1025};
        if (!options.quick) {
            sizes = {1, 17, 33, 65, 100, 1023, 1025, 2047, 2049, 4095};
            for (size_t size{16}; size <= 4096; size += 16) sizes.push_back(size);
            std::sort(sizes.begin(), sizes.end());
        }
        constexpr size_t CHUNKS{100000};
        std::printf("\nLocked bytes of a chunk, %zu of one size live: where bitcoin-support takes more than 1.02 of Core's, 1.01 up to 64 bytes\n", CHUNKS);
        std::vector<std::pair<Outcome, Outcome>> outcomes(sizes.size());
        InParallel(sizes.size(), [&](size_t i) {
            const std::string arguments{"none 1 packing " + std::to_string(sizes[i]) + " " + std::to_string(CHUNKS)};
            outcomes[i] = {Ours(arguments), Core(arguments)};
        });
        size_t worse{0};
        double largest{0};
        for (size_t i{0}; i < sizes.size(); ++i) {
            const auto& [ours, core]{outcomes[i]};
            if (Failed(ours, core)) {
                worse += Unskipped(ours, core);
                continue;
            }
            const double our_bytes{static_cast<double>(ours.marks[0].vmlck) / CHUNKS}, core_bytes{static_cast<double>(core.marks[0].vmlck) / CHUNKS};
            const double ratio{our_bytes / core_bytes};
            Line("scarce_packing", std::to_string(sizes[i]) + " bytes", "bytes", our_bytes, core_bytes);
            largest = std::max(largest, ratio);
            if (ratio <= (sizes[i] <= 64 ? 1.01 : 1.02) && ours.marks[0].failed == 0) continue;
            ++worse;
            std::printf("  %5zu bytes: %8.1f, Core %8.1f: %.3f\n", sizes[i], our_bytes, core_bytes, ratio);
        }
        std::printf("%zu sizes, %zu above; the largest ratio is %.3f\n", sizes.size(), worse, largest);
        return worse;
    }

    size_t Hoarding()
    {
        size_t worse{0};
        std::printf("\nAfter a burst, nothing in use: KiB locked, bitcoin-support / Core (without a limit at most %zu in the end; with one, who needs locked memory gets it)\n",
                    HOARD_SLACK / KIB);
        for (const char* const who : {"own", "other"}) {
            for (const size_t threads : {1, 20, 60}) {
                const std::string arguments{"none " + std::to_string(threads) + " hoard " + who};
                const Outcome ours{Ours(arguments)}, core{Core(arguments)};
                if (Failed(ours, core)) {
                    worse += Unskipped(ours, core);
                    continue;
                }
                std::printf("  %-28s", arguments.c_str());
                for (size_t i{0}; i < ours.marks.size(); ++i) std::printf("  %s %zu/%zu", ours.marks[i].label.c_str(), ours.marks[i].vmlck / KIB, core.marks[i].vmlck / KIB);
                const bool hoards{ours.marks.back().vmlck > HOARD_SLACK};
                worse += hoards;
                std::printf("%s\n", hoards ? "  HOARDED" : "");
                Line("scarce_hoarding", std::to_string(threads) + " threads, freed by " + (who[1] == 'w' ? "themselves" : "others"), "KiB", static_cast<double>(ours.marks.back().vmlck) / KIB,
                     static_cast<double>(core.marks.back().vmlck) / KIB);
            }
            for (const char* const limit : {"1048576 20", "8388608 1", "8388608 20", "8388608 100"}) {
                const std::string arguments{std::string{limit} + " hoard " + who};
                const Outcome ours{Ours(arguments)};
                if (Failed(ours, ours)) {
                    worse += Unskipped(ours, ours);
                    continue;
                }
                std::printf("  %-28s", arguments.c_str());
                bool refused{false};
                for (const auto& [name, value] : ours.values) {
                    std::printf("  %s %s", name.c_str(), value != 0 ? "yes" : "NO");
                    refused = refused || value == 0;
                }
                worse += refused;
                std::printf("\n");
            }
        }
        return worse;
    }

    size_t Mappings()
    {
        // Core's pool walks all its arenas and has a mapping for each, so a smaller run tells how many
        // mappings a full run has.
        const size_t bytes{(options.quick ? 512 : 2048) * MIB}, core_bytes{128 * MIB};
        const Outcome ours{Ours("none 1 mappings 5000 " + std::to_string(bytes))}, core{Core("none 1 mappings 5000 " + std::to_string(core_bytes))};
        if (Failed(ours, core)) return Unskipped(ours, core);
        const double our_mappings{ours.values.at("mappings")}, core_mappings{core.values.at("mappings") * static_cast<double>(bytes / core_bytes)};
        const bool worse{our_mappings > core_mappings || ours.values.at("failed") != 0};
        std::printf("\nMappings of %zu MiB in chunks of 5000 bytes: %.0f, Core %.0f; failed allocations %.0f; locked %.3f of what is live%s\n", bytes / MIB, our_mappings, core_mappings,
                    ours.values.at("failed"), ours.values.at("locked_share"), worse ? "  WORSE" : "");
        Line("scarce_mappings", std::to_string(bytes / MIB) + " MiB of 5000 bytes", "mappings", our_mappings, core_mappings);
        return worse;
    }

    void Cliffs()
    {
        std::printf("\nTimes, bitcoin-support / Core (ratio)\n");
        for (const char* const threads : {"1", "100", "1000", "10000"}) Times(std::string{"none "} + threads + " idle", std::string{threads} + " idle threads");
        Times(options.quick ? "none 1 ended 10000" : "none 1 ended 100000", options.quick ? "after 10000 threads" : "after 100000 threads");
        Times(options.quick ? "none 1 turns 2000" : "none 1 turns 20000", "a thread with a pair, over a bare one");
        for (const char* const limit : {"65536 1", "65536 20", "8388608 1", "8388608 20", "8388608 100"}) {
            for (const char* const sizes : {"32", "random256", "random2048", "5000"}) {
                const std::string where{limit};
                Times(where + " at_the_limit " + sizes,
                      "at a limit of " + Size(std::strtoul(limit, nullptr, 10)) + ", threads:" + where.substr(where.find(' ')) + ", " + sizes);
            }
        }
    }

private:
    const Options& options;
    bench::Csv& csv;

    Outcome Ours(const std::string& arguments) const { return Run(options.directory + "scarce_cell " + arguments); }
    Outcome Core(const std::string& arguments) const { return Run(options.directory + "scarce_cell_core " + arguments); }

    void InParallel(size_t count, const std::function<void(size_t)>& work) const
    {
        std::atomic<size_t> next{0};
        std::vector<std::thread> threads;
        for (size_t i{0}; i < options.jobs; ++i) {
            threads.emplace_back([&] {
                for (size_t each; (each = next++) < count;) work(each);
            });
        }
        for (std::thread& thread : threads) thread.join();
    }

    /** Whether there is nothing to compare. Prints why. */
    static bool Failed(const Outcome& ours, const Outcome& core)
    {
        for (const Outcome* const outcome : {&ours, &core}) {
            if (outcome->error.empty() && outcome->skipped.empty()) continue;
            std::printf("  %s%s\n", outcome->skipped.empty() ? "error: " : "skipped: ", (outcome->error + outcome->skipped).c_str());
            return true;
        }
        return false;
    }
    static bool Unskipped(const Outcome& ours, const Outcome& core) { return ours.skipped.empty() && core.skipped.empty(); }

    void Line(const std::string& table, const std::string& row, const std::string& unit, double ours, double core)
    {
        csv.Line(table, row, unit, bench::OURS, {ours}, 1);
        csv.Line(table, row, unit, "Bitcoin Core", {core}, core == 0 ? 0 : ours / core);
    }

    void Times(const std::string& arguments, const std::string& row)
    {
        const Outcome ours{Ours(arguments)}, core{Core(arguments)};
        std::printf("  %-46s", row.c_str());
        if (Failed(ours, core)) return;
        for (const auto& [name, value] : ours.values) {
            const double theirs{core.values.count(name) != 0 ? core.values.at(name) : 0};
            std::printf("  %s %.1f/%.1f (%.2f)", name.c_str(), value, theirs, theirs == 0 ? 0 : value / theirs);
            const size_t unit{name.rfind('_')};
            Line("scarce_cliffs", row + ": " + name.substr(0, unit), name.substr(unit + 1), value, theirs);
        }
        std::printf("\n");
        std::fflush(stdout);
    }
};

[[noreturn]] void Usage()
{
    std::fprintf(stderr, "usage: scarce_bench [--quick] [--control | --swap] [--part grid|packing|hoarding|mappings|cliffs] [--filter TEXT] [--every N] [--rows N] [--jobs N] [--csv FILE] [--figures FILE]\n");
    std::exit(2);
}

} // namespace

int main(int argc, char** argv)
{
    Options options;
    const std::string program{argv[0]};
    options.directory = program.substr(0, program.rfind('/') + 1);
    if (options.directory.empty()) Usage();
    for (int i{1}; i < argc; ++i) {
        const std::string option{argv[i]};
        if (option == "--quick") {
            options.quick = true;
        } else if (option == "--control") {
            options.control = true;
        } else if (option == "--swap") {
            options.swap = true;
        } else if (i + 1 == argc) {
            Usage();
        } else if (option == "--filter") {
            options.filter = argv[++i];
        } else if (option == "--csv") {
            options.csv = argv[++i];
        } else if (option == "--figures") {
            options.figures = argv[++i];
        } else if (option == "--part") {
            options.part = argv[++i];
        } else if (option == "--rows") {
            options.rows = std::strtoul(argv[++i], nullptr, 10);
        } else if (option == "--every") {
            options.every = std::strtoul(argv[++i], nullptr, 10);
        } else if (option == "--jobs") {
            options.jobs = std::strtoul(argv[++i], nullptr, 10);
        } else {
            Usage();
        }
    }
    if (options.jobs == 0 || options.every == 0) Usage();
    const auto wants{[&](const char* part) { return options.part.empty() || options.part == part; }};
    if (options.control || options.swap || !options.filter.empty() || options.every != 1) options.part = "grid";
    int result{wants("grid") ? Bench{options}.Compare() : EXIT_SUCCESS};
    bench::Csv csv{options.figures};
    csv.Header();
    Parts parts{options, csv};
    std::fflush(stdout);
    if (wants("packing") && parts.Packing() != 0) result = EXIT_FAILURE;
    if (wants("hoarding") && parts.Hoarding() != 0) result = EXIT_FAILURE;
    if (wants("mappings") && parts.Mappings() != 0) result = EXIT_FAILURE;
    if (wants("cliffs")) parts.Cliffs();
    return result;
}
