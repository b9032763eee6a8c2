# shellcheck shell=sh
#
# The parts of core_drop_in.mk that need a shell. make calls this script; it is not for use by hand.
#
#   rules MAKEFILE STRICT          prints lines for make about a Makefile; STRICT is not empty where a directory of
#                                  another project must be refused
#   compiled_without INCLUDE_DIR   prints the objects that were compiled with Core's headers, and not with those of
#                                  the directory
#   headers INCLUDE_DIR COMMAND... whether the files that a compiler lists (-M) have our headers in them
#   soname LIBRARY DIRECTORY       puts a link to a shared library into a directory, under its SONAME
#   no_probe WHAT LIBRARY INCLUDE_DIR  says why a tree is refused: the small program does not compile or link
#
# POSIX sh and awk.

set -eu
LC_ALL=C
export LC_ALL

fail() {
    printf 'bitcoin-support: %s\n' "$@" >&2
    exit 1
}

# ---- rules ------------------------------------------------------------------------

# emit LINE...: lines for make. It reads them through $(shell), which turns ends of lines into spaces.
emit() { printf '%s@@\n' "$@"; }

# refuse LINE...: has make stop with this message, behind which make puts a full stop.
refuse() {
    emit "define bitcoin_support_refusal" "$@" endef
    exit 0
}

unknown_layout() {
    refuse "this tree is laid out in a way that core_drop_in.mk does not know, so Core's own code might stay in:" "$@" \
        "Look for a newer bitcoin-support, or report the name and the version of the tree"
}

# variable NAME MAKEFILE: the value of a variable that configure has set.
variable() { sed -n "s/^$1 = *//p" "$2" | head -n 1; }

# Whether a Makefile lists the object of one of Core's two sources.
lists_support() { grep -Eq '(^|[[:space:]/])support/([^[:space:]/]*-)?(cleanse|lockedpool)\.(\$\(OBJEXT\)|lo|o)' "$1" 2>/dev/null; }

# Whether a directory is a tree that has not been configured, and this is another directory than its src. What is
# made here (depends) is something that the tree needs before.
not_configured() {
    [ -e "$1/src/support/lockedpool.cpp" ] && [ ! -e "$1/Makefile" ] || return 1
    case $(pwd -P)/ in "$(cd "$1/src" && pwd -P)"/*) return 1 ;; esac
}

# Whether this directory belongs to a tree whose src is switched over, or is going to be.
inside_tree() {
    directory=.
    for _ in 1 2 3 4 5; do
        if lists_support "$directory/src/Makefile" || lists_support "$directory/Makefile"; then return 0; fi
        if [ "$directory" != . ] && not_configured "$directory"; then return 0; fi
        directory=$directory/..
    done
    return 1
}

rules() {
    makefile=$1
    if ! lists_support "$makefile"; then
        if [ -n "$2" ] && ! inside_tree; then
            unknown_layout "  looked for objects of support/cleanse.cpp and support/lockedpool.cpp in src/Makefile and in Makefile," \
                "  in $(pwd) and the directories above it, and found none."
        fi
        emit "bitcoin_support_seen := yes"
        return
    fi

    # ---- The sources
    srcdir=$(variable srcdir "$makefile")
    host_os=$(variable host_os "$makefile")
    case $host_os in
    mingw* | cygwin*) refuse "core_drop_in.mk is not written for Windows" ;;
    esac
    prefix=$(grep -Eo '(^|[[:space:]])([^[:space:]]*/)?support/([^[:space:]/]*-)?lockedpool\.(\$\(OBJEXT\)|lo|o)' "$makefile" | head -n 1 | sed 's,support/.*,,; s,^[[:space:]]*,,')
    sources=$srcdir/$prefix
    sources=${sources%/}
    found=$(cd "$sources/support" 2>/dev/null && find . -name '*.c' -o -name '*.cc' -o -name '*.cpp' | sed 's,^\./,,' | sort | tr '\n' ' ') || found=
    if [ "$found" != "cleanse.cpp lockedpool.cpp " ]; then
        unknown_layout "  expected cleanse.cpp and lockedpool.cpp in $sources/support, found: $found"
    fi

    # ---- The headers
    # shellcheck disable=SC2016
    cppflags='-I$(bitcoin_support_include)'
    # Core 22.
    if grep -Eq 'SerializeData *= *std::vector<(std::)?uint8_t' "$sources/support/allocators/zeroafterfree.h"; then
        cppflags="$cppflags -DBITCOIN_SUPPORT_SERIALIZE_DATA_UINT8"
    fi
    # Zcash, Dogecoin.
    if grep -rEl --include='*.h' --include='*.hpp' --include='*.cpp' --include='*.cc' --include='*.mm' \
        '^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*/)?(support/cleanse|support/lockedpool|allocators/secure|allocators/zeroafterfree|cleanse|lockedpool|secure|zeroafterfree)\.h"' \
        "$sources" 2>/dev/null |
        grep -Eqv '/support/(cleanse|lockedpool|allocators/secure|allocators/zeroafterfree)\.(h|cpp)$'; then
        for guard in CLEANSE LOCKEDPOOL ALLOCATORS_SECURE ALLOCATORS_ZEROAFTERFREE; do
            header=$(echo "$guard" | tr 'A-Z_' 'a-z/')
            if ! grep -Eq "^#define BITCOIN_SUPPORT_${guard}_H([[:space:]]|\$)" "$sources/support/$header.h"; then
                unknown_layout "  $sources/support/$header.h has another include guard than BITCOIN_SUPPORT_${guard}_H."
            fi
        done
        cppflags="$cppflags -include \$(bitcoin_support_here)/core_drop_in.h"
    fi

    # ---- The Makefile
    # Written by automake, with one logical line for each variable. configure has made comments of the lines
    # of programs that are not built.
    answer=$(awk '
        function complain(reason) { if (!complaint) complaint = reason }
        function is_support(word) { return word ~ /(^|\/)support\/([^\/]*-)?(cleanse|lockedpool)\.(\$\(OBJEXT\)|lo|o)$/ }
        # Ours is inline, in a header.
        function is_unique_path(word) { return word ~ /(^|\/)util\/([^\/]*-)?getuniquepath\.(\$\(OBJEXT\)|lo|o)$/ }

        /^#/ { while (/\\$/ && getline > 0) {} next }
        {
            line = $0
            while (line ~ /\\$/ && (getline more) > 0) { sub(/\\$/, "", line); line = line more }
        }

        # Compilers: ours must be the first directory in each command.
        line ~ /\$\((CXX|OBJCXX)\)[ \t]/ && (line ~ /[ \t]-c[ \t]/ || line ~ /COMPILE *=/) {
            rest = line
            gsub(/[ \t]+/, " ", rest)
            commands = gsub(/\$\((CXX|OBJCXX)\) /, "&", rest)
            if (gsub(/\$\((CXX|OBJCXX)\) \$\(DEFS\) \$\(DEFAULT_INCLUDES\)/, "&", rest) != commands)
                complain("a command compiles without $(DEFS) $(DEFAULT_INCLUDES): " substr(line, 1, 100))
        }

        line ~ /^\t/ { next }

        line ~ /^[A-Za-z0-9_.]+[ \t]*[+:?]?=/ {
            name = line
            sub(/[ \t]*[+:?]?=.*/, "", name)
            value = line
            sub(/^[^=]*=[ \t]*/, "", value)
            values[name] = value
            count = split(value, words, /[ \t]+/)
            kept = ""
            changed = 0
            for (i = 1; i <= count; i++) {
                word = words[i]
                object = word
                gsub(/\$\(OBJEXT\)/, "o", object)
                if (is_support(word) || is_unique_path(word)) {
                    changed = 1
                    if (!(object in removed)) removed_list = removed_list " " object
                    removed[object] = 1
                    if (word ~ /cleanse\.[^.]*$/) cleanse++
                    if (word ~ /lockedpool\.[^.]*$/) lockedpool++
                    continue
                }
                kept = kept " " word
                if (object ~ /^[^$%*]+\.(o|lo)$/ && !(object in objects)) {
                    objects[object] = 1
                    object_list = object_list " " object
                }
            }
            if (changed) {
                if (line !~ /^[A-Za-z0-9_.]+[ \t]*=/) complain("Core'"'"'s own objects are appended to " name ".")
                overrides[name] = kept
            }
            if (value ~ /librust[A-Za-z0-9_]*\.(a|la)([ \t]|$)/) rust = name
            next
        }

        # Rules. What is linked depends on $(EXTRA_<name>_DEPENDENCIES).
        /:/ {
            prerequisites = line
            sub(/^[^:]*:/, "", prerequisites)
            count = split(prerequisites, words, /[ \t]+/)
            for (i = 1; i <= count; i++) {
                if (is_support(words[i])) complain("a rule depends on " words[i] ".")
                if (words[i] ~ /^\$\(EXTRA_[A-Za-z0-9_]+_DEPENDENCIES\)$/) {
                    gsub(/[$()]/, "", words[i])
                    extra[words[i]] = 1
                }
            }
        }

        END {
            if (!cleanse || !lockedpool) complain("no list of objects has both support/cleanse and support/lockedpool.")
            if (!("DEFAULT_INCLUDES" in values)) complain("there is no variable DEFAULT_INCLUDES.")
            if (!("LIBS" in values)) complain("there is no variable LIBS.")
            if (!("CXXCOMPILE" in values) || !("CXXLINK" in values)) complain("there are no variables CXXCOMPILE and CXXLINK.")
            if (complaint) { print "complaint " complaint; exit }
            for (name in overrides) print "override " name " =" overrides[name] "@@"
            for (name in extra) print "override " name " = " values[name] " $(bitcoin_support_stamp) $(bitcoin_support_library)@@"
            print "override DEFAULT_INCLUDES = $(bitcoin_support_cppflags) " values["DEFAULT_INCLUDES"] "@@"
            print "ifeq ($(origin LIBS),command line)@@"
            print "override LIBS += $(bitcoin_support_libs)@@"
            print "else@@"
            print "override LIBS = " values["LIBS"] " $(bitcoin_support_libs)@@"
            print "endif@@"
            print "bitcoin_support_removed :=" removed_list "@@"
            print "bitcoin_support_objects :=" object_list "@@"
            print "bitcoin_support_other_rust := " rust "@@"
        }
    ' "$makefile")
    case $answer in
    "complaint "*) unknown_layout "  $(pwd)/$makefile: ${answer#complaint }" ;;
    esac
    printf '%s\n' "$answer"
    emit "bitcoin_support_cppflags = $cppflags" "bitcoin_support_host_os := $host_os" "bitcoin_support_seen := yes"
}

# ---- compiled_without, headers, soname, no_probe ------------------------------------

# The lists of files that the compiler has read have their object in front.
compiled_without() {
    find . -name '*.P*o' -path '*/.deps/*' -exec \
        grep -lE '(^|[ /])support/(cleanse|lockedpool|allocators/secure|allocators/zeroafterfree)\.h' {} + |
        while IFS= read -r list; do
            grep -qF "$1/support/" "$list" || sed -n '1s/ *:.*//p' "$list"
        done
}

headers() {
    include=$1
    shift
    list=$("$@") || fail "this command does not work: $*"
    for header in cleanse lockedpool allocators/secure allocators/zeroafterfree; do
        read_ones=$(printf '%s\n' "$list" | tr ' ' '\n' | grep -E "(^|/)support/$header\.h\$" | sort -u)
        if [ "$read_ones" != "$include/support/$header.h" ]; then
            fail "the compiler reads $read_ones" "for <support/$header.h>, and not the one in $include." \
                "Which directories come before it in: $*"
        fi
    done
}

soname() {
    name=$(readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
    mkdir -p "$2"
    [ -z "$name" ] || ln -sf "$1" "$2/$name"
}

no_probe() {
    fail "a small program does not $1 with" "  $2" "  $3" \
        "Both must be of one version, the library built for this system, and the tree compiled as C++17 or later" \
        "(Core 0.21 and older, Litecoin 0.21, Dogecoin 1.14: ./configure --enable-c++17)."
}

case ${1-} in
rules | compiled_without | headers | soname | no_probe) "$@" ;;
*) fail "core_drop_in.sh is called by core_drop_in.mk." ;;
esac
