# Switches a Bitcoin Core tree that is built with autotools over to bitcoin-support, without a patch:
#
#   ./configure
#   make -f /abs/path/core_drop_in.mk
#
# and later `make -f /abs/path/core_drop_in.mk check`, `install` and so on. (A tree of 0.21 is
# configured with --enable-c++17.)
# This file hands itself on to the makes that make starts (in the variable MAKEFILES), and acts where a
# Makefile lists the objects of support/cleanse.cpp and support/lockedpool.cpp. There it
#
# - takes these objects out of every list of objects, whatever library the list is for;
# - puts our headers in front of all directories that the compiler searches;
# - links our library into all programs and shared libraries;
# - has every object wait for a stamp, .deps/bitcoin_support. Objects that were compiled without this file are
#   older than the stamp, so make compiles them again.
#
# It stops with an error where it cannot do all four: a build that it lets through has none of Core's own code
# for locked memory in it. core_drop_in.sh looks at the tree, and compiles and links a small program the way
# the tree does, before the first object is compiled.
#
# Variables, after the name of the file or in the environment:
#   BITCOIN_SUPPORT_SHARED=1          link the shared library, not the static one
#   BITCOIN_SUPPORT_LIBRARY=<file>    the library itself, static or shared, and
#   BITCOIN_SUPPORT_INCLUDE_DIR=<dir> its headers; both are found by themselves when this file stands in a source
#                                     checkout or where `cmake --install` put it
#
# Needs GNU make, and is tested with 4.3. All names here begin with bitcoin_support_, because Core's makefiles are
# read in the same make.

ifeq ($(origin bitcoin_support_self),undefined)

bitcoin_support_self := $(abspath $(lastword $(MAKEFILE_LIST)))
bitcoin_support_here := $(patsubst %/,%,$(dir $(bitcoin_support_self)))
bitcoin_support_script := sh $(bitcoin_support_here)/core_drop_in.sh
define bitcoin_support_newline


endef
# Directories of other projects are refused where the user has named this file.
bitcoin_support_strict := $(filter 0,$(MAKELEVEL))$(filter-out $(words $(filter $(bitcoin_support_self),$(abspath $(MAKEFILES)))),1)

# A relative path would not be found in other directories, and make says nothing of a file in MAKEFILES that it does not
# find.
ifneq ($(and $(filter command line,$(origin MAKEFILES)),$(filter-out /%,$(MAKEFILES))),)
  $(error bitcoin-support: MAKEFILES needs absolute paths: $(MAKEFILES))
endif
# Of a path with spaces, make has given the last word.
ifneq ($(words $(bitcoin_support_self)) $(words $(wildcard $(bitcoin_support_self))),1 1)
  $(error bitcoin-support: make cannot use paths with spaces: $(strip $(MAKEFILE_LIST)))
endif

# ---- Where the library and its headers are --------------------------------------

ifneq ($(filter 1 on yes true ON,$(BITCOIN_SUPPORT_SHARED)),)
  bitcoin_support_name := libbitcoin_support.so
else
  bitcoin_support_name := libbitcoin_support.a
endif

# In a checkout this file stands in integrations/autotools, and otherwise in <prefix>/share/bitcoin-support/autotools.
# The library's directory is then lib, lib64 or lib/<architecture>.
bitcoin_support_root := $(abspath $(bitcoin_support_here)/../..)
ifneq ($(wildcard $(bitcoin_support_root)/Cargo.toml),)
  bitcoin_support_include := $(bitcoin_support_root)/include
  # cargo takes a relative CARGO_TARGET_DIR from where it runs: the checkout.
  bitcoin_support_target := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
  ifeq ($(filter /%,$(bitcoin_support_target)),)
    bitcoin_support_target := $(bitcoin_support_root)/$(bitcoin_support_target)
  endif
  bitcoin_support_searched := $(bitcoin_support_target)/release/$(bitcoin_support_name)
  bitcoin_support_remedy := Build it with "cargo build-c" in $(bitcoin_support_root)
else
  bitcoin_support_root := $(abspath $(bitcoin_support_here)/../../..)
  bitcoin_support_include := $(bitcoin_support_root)/include/bitcoin-support
  bitcoin_support_searched := $(foreach directory,lib lib64 lib/*,$(bitcoin_support_root)/$(directory)/$(bitcoin_support_name))
  bitcoin_support_remedy := Install bitcoin-support again under $(bitcoin_support_root)
endif
ifneq ($(BITCOIN_SUPPORT_LIBRARY),)
  bitcoin_support_searched := $(BITCOIN_SUPPORT_LIBRARY)
endif
ifneq ($(BITCOIN_SUPPORT_INCLUDE_DIR),)
  bitcoin_support_include := $(BITCOIN_SUPPORT_INCLUDE_DIR)
endif
bitcoin_support_library := $(abspath $(firstword $(wildcard $(bitcoin_support_searched))))
bitcoin_support_include := $(abspath $(bitcoin_support_include))

# ---- The directory that make works in ---------------------------------------------

bitcoin_support_makefile := $(firstword $(wildcard GNUmakefile makefile Makefile))
bitcoin_support_cleaning := $(and $(MAKECMDGOALS),$(if $(filter-out %clean clean-% uninstall%,$(MAKECMDGOALS)),,yes))

# core_drop_in.sh writes lines for make. $(shell) turns their ends into spaces, so each ends with @@.
# The lines set bitcoin_support_objects, the objects that this Makefile lists, or say why the tree is refused.
ifneq ($(bitcoin_support_makefile),)
  $(eval $(subst @@,,$(subst @@ ,$(bitcoin_support_newline),$(shell $(bitcoin_support_script) rules $(bitcoin_support_makefile) '$(bitcoin_support_strict)'))))
  ifneq ($(origin bitcoin_support_refusal),undefined)
    $(error bitcoin-support: $(value bitcoin_support_refusal))
  endif
  ifeq ($(bitcoin_support_seen),)
    $(error bitcoin-support: $(bitcoin_support_here)/core_drop_in.sh failed)
  endif
endif

ifneq ($(and $(bitcoin_support_objects),$(if $(bitcoin_support_cleaning),,yes)),)

ifeq ($(bitcoin_support_library),)
  $(error bitcoin-support: the library is missing:$(bitcoin_support_newline)  $(bitcoin_support_searched)$(bitcoin_support_newline)$(bitcoin_support_remedy), or name the library file with BITCOIN_SUPPORT_LIBRARY=<file>)
endif
ifneq ($(filter-out 1,$(words $(bitcoin_support_library)) $(words $(bitcoin_support_include))),)
  $(error bitcoin-support: make cannot use paths with spaces: $(bitcoin_support_library), $(bitcoin_support_include))
endif

ifneq ($(and $(bitcoin_support_other_rust),$(filter %.a,$(bitcoin_support_library))),)
  $(error bitcoin-support: this tree links other Rust code ($(bitcoin_support_other_rust)), and two static libraries of Rust do not link together. Use the shared library: BITCOIN_SUPPORT_SHARED=1)
endif

# -Wl hides the file's name from libtool, which would warn about it, and would write it into .la files.
bitcoin_support_libs := -Wl,$(bitcoin_support_library)
ifneq ($(filter %.a,$(bitcoin_support_library)),)
  # Shared libraries, such as libbitcoinconsensus.so, would export the whole of Rust's standard library.
  ifeq ($(filter darwin%,$(bitcoin_support_host_os)),)
    bitcoin_support_libs += -Wl,--exclude-libs,$(notdir $(bitcoin_support_library))
  endif
else
  # Programs ask for the library by its SONAME, under which a checkout does not have it. This is for programs that
  # make runs; those that are installed find the library where the system's loader looks.
  bitcoin_support_loader_dir := $(CURDIR)/.deps/bitcoin_support.lib
  export LD_LIBRARY_PATH := $(bitcoin_support_loader_dir):$(dir $(bitcoin_support_library))$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))
endif
ifeq ($(filter darwin%,$(bitcoin_support_host_os)),)
  # The system's libraries that Rust's standard library needs.
  bitcoin_support_libs += -lpthread -ldl -lm
endif

# ---- The stamp ----------------------------------------------------------------------

bitcoin_support_stamp := .deps/bitcoin_support
bitcoin_support_probe := .deps/bitcoin_support_probe
# The stamp says with what the objects were compiled and linked: the library, the flags, a checksum of the headers.
bitcoin_support_headers := $(wildcard $(bitcoin_support_include)/*.h $(bitcoin_support_include)/support/*.h $(bitcoin_support_include)/support/allocators/*.h)
bitcoin_support_settings := $(bitcoin_support_library) $(bitcoin_support_cppflags) $(shell cat $(bitcoin_support_headers) /dev/null | cksum)
ifneq ($(strip $(shell cat $(bitcoin_support_stamp) 2>/dev/null)),$(strip $(bitcoin_support_settings)))
  bitcoin_support_renew := bitcoin_support_renew
endif
# Core's own objects here: the tree was built without this file, and not cleaned.
# libtool makes three files of each.
bitcoin_support_left := $(wildcard $(bitcoin_support_removed) $(bitcoin_support_removed:.lo=.o) $(foreach object,$(bitcoin_support_removed:.lo=.o),$(dir $(object)).libs/$(notdir $(object))))
ifneq ($(bitcoin_support_left),)
  bitcoin_support_renew := bitcoin_support_renew
endif

.PHONY: bitcoin_support_renew
bitcoin_support_renew:

# Objects that a make without this file has compiled. Those that it compiled after the stamp are newer than the stamp.
bitcoin_support_plain := $(filter $(bitcoin_support_objects),$(shell $(bitcoin_support_script) compiled_without $(bitcoin_support_include)))
$(bitcoin_support_plain): bitcoin_support_renew

# Compiled and linked as the tree compiles and links its programs. All variables are the tree's.
$(bitcoin_support_probe).o: $(bitcoin_support_here)/core_drop_in_probe.cpp $(bitcoin_support_headers) $(bitcoin_support_renew)
	@mkdir -p .deps
	@$(bitcoin_support_script) headers $(bitcoin_support_include) $(CXXCOMPILE) $(BITCOIN_INCLUDES) $(PIE_FLAGS) -M $<
	@$(CXXCOMPILE) $(BITCOIN_INCLUDES) $(PIE_FLAGS) -c -o $@ $< || $(bitcoin_support_script) no_probe compile $(bitcoin_support_library) $(bitcoin_support_include)
$(bitcoin_support_probe): $(bitcoin_support_probe).o $(bitcoin_support_library)
	@$(CXXLINK) $(PTHREAD_FLAGS) $< $(LIBS) >$@.log 2>&1 || { cat $@.log >&2; $(bitcoin_support_script) no_probe link $(bitcoin_support_library) $(bitcoin_support_include); }

# A new library is tried with the probe, and programs are linked again. No object is compiled again for it.
$(bitcoin_support_stamp): $(bitcoin_support_renew) | $(bitcoin_support_probe)
	$(if $(bitcoin_support_loader_dir),@$(bitcoin_support_script) soname $(bitcoin_support_library) $(bitcoin_support_loader_dir))
	$(if $(bitcoin_support_left),@rm -f $(bitcoin_support_left))
	@echo "bitcoin-support: Core's $(bitcoin_support_removed) removed"
	@echo "bitcoin-support: library $(bitcoin_support_library)"
	@echo "bitcoin-support: headers $(bitcoin_support_include)"
	@printf '%s\n' '$(strip $(bitcoin_support_settings))' >$@

$(bitcoin_support_objects): $(bitcoin_support_stamp)

endif # a directory with Core's objects
endif # read for the first time

# ---- Read by -f -----------------------------------------------------------------------

# For the makes that this one starts. They get a variable of the command line as it was given.
bitcoin_support_listed := $(words $(filter $(bitcoin_support_self),$(abspath $(MAKEFILES))))
export MAKEFILES := $(abspath $(MAKEFILES)) $(if $(filter 0,$(bitcoin_support_listed)),$(bitcoin_support_self))

# Read as one of MAKEFILES, make goes on to the directory's Makefile by itself. Read by -f, it does not.
ifneq ($(words $(filter $(bitcoin_support_self),$(abspath $(MAKEFILE_LIST)))),$(bitcoin_support_listed))
  ifeq ($(bitcoin_support_makefile),)
    $(error bitcoin-support: there is no Makefile in $(CURDIR). Run configure first; a tree with a CMakeLists.txt and no configure.ac is switched over by core_drop_in.cmake)
  endif
  # The first target of the Makefile is the one to make, not the first one of this file.
  .DEFAULT_GOAL :=
  include $(bitcoin_support_makefile)
endif
