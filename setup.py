"""The part of the build that pyproject.toml cannot say: two source folders, one package, and an optional helper in C.

`src/proactor_trio` is the package; `src/backends` is its sub-package `proactor_trio.backends`. Every folder with an
`__init__.py` below either of them is a package; there is no list to keep.

On Linux there are three cffi modules. `_abi` of the io_uring backend is generated Python and always there. `_native`
beside it and `_atomics` of the shared pools are compiled, and optional:

* by default it is tried; where that fails the build goes on and says so;
* PROACTOR_TRIO_REQUIRE_NATIVE=1 makes a failure an error (for releases);
* PROACTOR_TRIO_PURE=1 does not try.

What is in a wheel decides its name: cp311-abi3 with compiled helpers inside, py3-none-any without.
"""

from __future__ import annotations

import os
import runpy
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

NATIVE_MODULES = ("proactor_trio.backends.io_uring._native", "proactor_trio.proactor.memory._atomics")
FFI_BUILD = "src/backends/io_uring/ffi_build.py"
ATOMICS_BUILD = "src/proactor_trio/proactor/memory/ffi_build.py"
GENERATED_MODULE = "src/backends/io_uring/_abi.py"


on_linux = sys.platform == "linux"
pure = os.environ.get("PROACTOR_TRIO_PURE") == "1"
native_required = os.environ.get("PROACTOR_TRIO_REQUIRE_NATIVE") == "1"
if pure and native_required:
    sys.exit("PROACTOR_TRIO_PURE and PROACTOR_TRIO_REQUIRE_NATIVE contradict each other: set one of them")

# The stable ABI does not exist in free-threaded builds before 3.15; there the helper is built for one version.
stable_abi = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildPython(build_py):
    """Puts the generated module beside its sources for an editable install, also where nothing is compiled."""

    def run(self) -> None:
        super().run()
        if self.editable_mode and on_linux:
            runpy.run_path(FFI_BUILD)["abi"].emit_python_code(GENERATED_MODULE)


class BuildWheel(bdist_wheel):
    """Names the wheel after what was really built, not after what was going to be tried."""

    def run(self) -> None:
        self.run_command("build")
        build_ext = self.get_finalized_command("build_ext")
        modules = NATIVE_MODULES if self.distribution.has_ext_modules() else ()
        helpers = [build_ext.get_ext_fullpath(module) for module in modules]
        if not any(Path(helper).exists() for helper in helpers):
            # `build` is done and keeps its folder; from here on this is a wheel of Python files only.
            self.distribution.ext_modules = []
            self.root_is_pure = True
            self.py_limited_api = False
        super().run()


packages = ["proactor_trio", "proactor_trio.backends"]
packages += [f"proactor_trio.{name}" for name in find_packages("src/proactor_trio")]
packages += [f"proactor_trio.backends.{name}" for name in find_packages("src/backends")]

arguments: dict[str, Any] = {}
if on_linux:
    arguments["cffi_modules"] = [f"{FFI_BUILD}:abi"]
    if not pure:
        arguments["cffi_modules"] += [f"{FFI_BUILD}:native", f"{ATOMICS_BUILD}:atomics"]
        if stable_abi:
            arguments["options"] = {"bdist_wheel": {"py_limited_api": "cp311"}}

setup(
    packages=packages,
    package_dir={"proactor_trio": "src/proactor_trio", "proactor_trio.backends": "src/backends"},
    package_data={"proactor_trio": ["py.typed"]},
    cmdclass={"build_py": BuildPython, "bdist_wheel": BuildWheel},
    **arguments,
)
