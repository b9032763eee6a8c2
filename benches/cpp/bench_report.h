// The common part of the benchmarks: options, rounds in which competitors take turns, and tables of medians
// and ratios, which are printed and written as CSV. It does not depend on the workloads.

#ifndef BITCOIN_SUPPORT_BENCHES_BENCH_REPORT_H
#define BITCOIN_SUPPORT_BENCHES_BENCH_REPORT_H

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/** The competitor to which the ratios relate. */
constexpr const char* OURS{"bitcoin-support"};

using Clock = std::chrono::steady_clock;

inline double NanosecondsSince(Clock::time_point start)
{
    return std::chrono::duration<double, std::nano>{Clock::now() - start}.count();
}

/** The median of at least one value; of an even number of values, the upper one of the middle two. */
inline double Median(std::vector<double> values)
{
    const auto middle{values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2)};
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

struct Options {
    static constexpr const char* USAGE{"[--rounds N] [--quick] [--filter TEXT] [--peers NAME,NAME...] [--csv FILE]"};

    size_t rounds{15};
    /** Rounds for measurements that take a second or more each; as many as for the others if the caller chose
     *  a number. */
    size_t long_rounds{5};
    bool quick{false};
    std::string filter;
    std::vector<std::string> peers;
    std::string csv;

    /** Returns false if the arguments are not valid. */
    bool Parse(int argc, char** argv)
    {
        bool rounds_chosen{false};
        for (int i{1}; i < argc; ++i) {
            const std::string option{argv[i]};
            if (option == "--quick") {
                quick = true;
                continue;
            }
            if (++i == argc) return false;
            const std::string value{argv[i]};
            if (option == "--rounds") {
                rounds = long_rounds = std::strtoul(value.c_str(), nullptr, 10);
                rounds_chosen = true;
            } else if (option == "--filter") {
                filter = value;
            } else if (option == "--peers") {
                for (size_t begin{0}, end{0}; end != std::string::npos; begin = end + 1) {
                    end = value.find(',', begin);
                    peers.push_back(value.substr(begin, end - begin));
                }
            } else if (option == "--csv") {
                csv = value;
            } else {
                return false;
            }
        }
        if (quick && !rounds_chosen) rounds = 3, long_rounds = 1;
        return rounds > 0;
    }
    bool WantsRow(const std::string& name) const { return name.find(filter) != std::string::npos; }
    bool WantsPeer(const std::string& peer) const
    {
        return peers.empty() || peer == OURS || std::find(peers.begin(), peers.end(), peer) != peers.end();
    }
    /** After this many seconds in one row, a competitor sits out the rounds that remain, but for the first three. */
    double Budget() const { return quick ? 0.1 : 0.7; }
};

/** A competitor in a row. */
struct Entry {
    std::string peer;
    /** Why it cannot take part; empty if it can. */
    std::string why_not;
    /** Runs once before the rounds, untimed: sets up and checks. Returns why it cannot take part after all. */
    std::function<std::string()> prepare;
    /** One value in the table's unit. */
    std::function<double()> measure;
};

/** The values of each competitor, in the order of the rounds. */
using Values = std::map<std::string, std::vector<double>>;

/** Writes the file of all values, with one line for each row and competitor. */
class Csv
{
public:
    explicit Csv(const std::string& path)
        : file{path.empty() ? nullptr : std::fopen(path.c_str(), "w")}
    {
        if (!path.empty() && !file) {
            std::perror(path.c_str());
            std::exit(EXIT_FAILURE);
        }
    }
    ~Csv()
    {
        if (file) std::fclose(file);
    }
    Csv(const Csv&) = delete;
    Csv& operator=(const Csv&) = delete;

    /** A line about the run, before Header(). */
    void Comment(const std::string& name, const std::string& text)
    {
        std::printf("%-14s %s\n", name.c_str(), text.c_str());
        if (file) std::fprintf(file, "# %s: %s\n", name.c_str(), text.c_str());
    }
    void Header()
    {
        if (file) std::fprintf(file, "table,workload,unit,peer,median,lowest,highest,ratio,rounds,why_not\n");
    }
    void Line(const std::string& table, const std::string& row, const std::string& unit, const std::string& peer,
              const std::vector<double>& values, double ratio)
    {
        if (!file) return;
        const auto [lowest, highest]{std::minmax_element(values.begin(), values.end())};
        std::fprintf(file, "%s,%s,%s,%s,%.4g,%.4g,%.4g,%.4g,%zu,\n", table.c_str(), row.c_str(), unit.c_str(), peer.c_str(),
                     Median(values), *lowest, *highest, ratio, values.size());
    }
    void Line(const std::string& table, const std::string& row, const std::string& unit, const std::string& peer,
              const std::string& why_not)
    {
        if (file) std::fprintf(file, "%s,%s,%s,%s,,,,,0,\"%s\"\n", table.c_str(), row.c_str(), unit.c_str(), peer.c_str(), why_not.c_str());
    }

private:
    std::FILE* file;
};

/** Rows of the same competitors. Prints each row as it is measured, and at the end why values are missing. */
class Table
{
public:
    Table(const Options& options_in, Csv& csv_in, std::string name_in, std::string title_in, std::string unit_in,
          const std::vector<std::string>& peers)
        : options{options_in}, csv{csv_in}, name{std::move(name_in)}, title{std::move(title_in)}, unit{std::move(unit_in)}
    {
        std::copy_if(peers.begin(), peers.end(), std::back_inserter(columns), [this](const std::string& peer) { return options.WantsPeer(peer); });
    }
    ~Table()
    {
        for (const auto& [why, where] : reasons) std::printf("  n/a: %s (%s)\n", why.c_str(), where.c_str());
    }
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    /**
     * Measures a row if the options select it. All competitors take a turn in every round, in another order each
     * time, so that no competitor always follows the same other one. A competitor that is in no column is printed on
     * a line below: it is a lower bound and not a rival.
     */
    Values Row(const std::string& row, size_t rounds, std::vector<Entry> entries)
    {
        Values values;
        if (!options.WantsRow(row)) return values;
        entries.erase(std::remove_if(entries.begin(), entries.end(), [this](const Entry& e) { return !options.WantsPeer(e.peer); }),
                      entries.end());
        for (Entry& entry : entries) {
            if (entry.why_not.empty() && entry.prepare) entry.why_not = entry.prepare();
        }
        std::map<std::string, double> spent;
        std::mt19937 random; // the same orders in every run
        for (size_t round{0}; round < rounds; ++round) {
            std::shuffle(entries.begin(), entries.end(), random);
            for (const Entry& entry : entries) {
                if (!entry.why_not.empty() || (round >= 3 && spent[entry.peer] > options.Budget() * 1e9)) continue;
                const auto start{Clock::now()};
                values[entry.peer].push_back(entry.measure());
                // The competitor to which the ratios relate takes part in every round.
                if (entry.peer != OURS) spent[entry.peer] += NanosecondsSince(start);
            }
        }
        Print(row, unit, values, entries);
        return values;
    }

    /** A row that is computed from the values of other rows. */
    void Derived(const std::string& row, const std::string& row_unit, const Values& values)
    {
        if (!values.empty()) Print(row, row_unit, values, {});
    }

private:
    const Options& options;
    Csv& csv;
    const std::string name, title, unit;
    std::vector<std::string> columns;
    bool header_printed{false};
    /** For each reason, the workloads that a competitor cannot do. */
    std::map<std::string, std::string> reasons;

    static std::string Number(double value)
    {
        char text[32];
        std::snprintf(text, sizeof text, value < 99.95 ? "%.1f" : "%.0f", value);
        return text;
    }
    static std::string Ratio(double value)
    {
        char text[32];
        const char* const format{value == 0 ? "" : value < 0.000095 ? "%.0ex" :
                                               value < 0.00995      ? "%.4fx" :
                                               value < 0.0995       ? "%.3fx" :
                                               value < 99.5         ? "%.2fx" :
                                                                      "%.0fx"};
        std::snprintf(text, sizeof text, format, value);
        return text;
    }

    void Print(const std::string& row, const std::string& row_unit, const Values& values, const std::vector<Entry>& entries)
    {
        if (!header_printed) {
            header_printed = true;
            std::printf("\n%s\n%-28s", title.c_str(), unit.c_str());
            for (const std::string& peer : columns) std::printf(" %15s", peer.c_str());
            std::printf("\n");
        }
        std::printf("%-28s", row.c_str());
        const auto ours{values.find(OURS)};
        const auto ratio{[&](const std::vector<double>& theirs) {
            // The ratio of each round, so that both met the same conditions.
            std::vector<double> ratios;
            for (size_t i{0}; i < theirs.size() && ours != values.end() && i < ours->second.size(); ++i) {
                ratios.push_back(theirs[i] == 0 ? 0 : ours->second[i] / theirs[i]);
            }
            return ratios.empty() ? 0 : Median(ratios);
        }};
        for (const std::string& peer : columns) {
            const auto found{values.find(peer)};
            if (found == values.end()) {
                std::printf(" %15s", "n/a");
            } else if (row_unit == "x") { // a ratio itself
                std::printf(" %14.2fx", Median(found->second));
            } else if (peer == OURS) {
                std::printf(" %15s", Number(Median(found->second)).c_str());
            } else {
                std::printf(" %7s %7s", Number(Median(found->second)).c_str(), Ratio(ratio(found->second)).c_str());
            }
        }
        std::printf("\n");
        for (const auto& [peer, theirs] : values) {
            if (std::find(columns.begin(), columns.end(), peer) == columns.end()) {
                std::printf("  %s: %s\n", peer.c_str(), Number(Median(theirs)).c_str());
            }
            csv.Line(name, row, row_unit, peer, theirs, row_unit == "x" ? 0 : ratio(theirs));
        }
        for (const Entry& entry : entries) {
            if (entry.why_not.empty()) continue;
            std::string& where{reasons[entry.peer + ": " + entry.why_not]};
            where += (where.empty() ? "" : "; ") + row;
            csv.Line(name, row, row_unit, entry.peer, entry.why_not);
        }
        std::fflush(stdout);
    }
};

} // namespace bench

#endif // BITCOIN_SUPPORT_BENCHES_BENCH_REPORT_H
