"""Builds the examples in C and C++ on the package, and runs them."""

import os

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout


class TestPackage(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "VirtualRunEnv"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.user_presets_path = False
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        shared = self.dependencies["bitcoin-support"].options.shared
        cmake.configure(variables={"LIBRARY": "bitcoin_support" if shared else "bitcoin_support_static"})
        cmake.build()

    def test(self):
        if can_run(self):
            for program in ("keep_secret_c", "keep_secret_cpp"):
                self.run(os.path.join(self.cpp.build.bindir, program), env="conanrun")
