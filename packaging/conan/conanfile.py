"""The library for Conan 2, built from the checkout in which this recipe lies.

    conan create packaging/conan

The build needs cargo, and the crates of Cargo.lock from the network or from cargo's earlier downloads: Conan has no packages
of them.
"""

import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rm, rmdir, save

required_conan_version = ">=2.0"

# In the package: what a program links besides the static library.
SYSTEM_LIBRARIES = "res/system_libraries"


class BitcoinSupport(ConanFile):
    name = "bitcoin-support"
    description = "Locked memory for secrets, with Bitcoin Core's interface"
    license = "MIT"
    topics = ("bitcoin", "mlock", "secret", "allocator")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False]}
    default_options = {"shared": False}

    @property
    def _checkout(self):
        return os.path.join(self.recipe_folder, os.pardir, os.pardir)

    def set_version(self):
        manifest = load(self, os.path.join(self._checkout, "Cargo.toml"))
        self.version = re.search(r'^version = "(.*)"$', manifest, re.MULTILINE)[1]

    def export_sources(self):
        for name in ("CMakeLists.txt", "Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "build.rs"):
            copy(self, name, self._checkout, self.export_sources_folder)
        # cargo looks for each package of the workspace, and for each test, benchmark and example that a manifest names.
        for folder in ("benches", "cmake", "command", "examples", "include", "integrations", "scripts/vm-test.d/guest", "src"):
            copy(self, "*", os.path.join(self._checkout, folder), os.path.join(self.export_sources_folder, folder))

    def configure(self):
        # The library is Rust behind functions of C. The C++ headers are compiled by those who include them.
        self.settings.rm_safe("compiler.cppstd")
        self.settings.rm_safe("compiler.libcxx")

    def validate(self):
        if self.settings.os not in ("Linux", "FreeBSD", "Macos"):
            raise ConanInvalidConfiguration("CMake installs the library for Unix systems only")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.user_presets_path = False
        for part in ("TESTS", "BENCHMARKS", "EXAMPLES"):
            toolchain.cache_variables[f"BITCOIN_SUPPORT_BUILD_{part}"] = False
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        # CMake has asked rustc which libraries of the system Rust's standard library needs. They differ from system to system.
        flags = load(self, os.path.join(self.package_folder, "lib/pkgconfig/bitcoin_support.pc"))
        flags = re.search(r"^Libs\.private:(.*)$", flags, re.MULTILINE)[1].split()
        names = [flag[2:] for flag in flags if flag.startswith("-l")]
        save(self, os.path.join(self.package_folder, SYSTEM_LIBRARIES), "\n".join(dict.fromkeys(names)) + "\n")
        # One of the two libraries. Conan writes the files for CMake and pkg-config itself.
        for pattern in ("*.a",) if self.options.shared else ("*.so*", "*.dylib"):
            rm(self, pattern, os.path.join(self.package_folder, "lib"))
        for folder in ("lib/cmake", "lib/pkgconfig", "share/doc"):
            rmdir(self, os.path.join(self.package_folder, folder))

    def package_info(self):
        self.cpp_info.libs = ["bitcoin_support"]
        self.cpp_info.includedirs = ["include/bitcoin-support"]
        target = "bitcoin_support" if self.options.shared else "bitcoin_support_static"
        self.cpp_info.set_property("cmake_file_name", "bitcoin_support")
        self.cpp_info.set_property("cmake_target_name", f"bitcoin_support::{target}")
        self.cpp_info.set_property("pkg_config_name", "bitcoin_support")
        if not self.options.shared:
            self.cpp_info.system_libs = load(self, os.path.join(self.package_folder, SYSTEM_LIBRARIES)).split()
