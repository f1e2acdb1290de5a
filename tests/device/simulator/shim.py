# SPDX-License-Identifier: Apache-2.0
"""A library that tells libtorch that there are devices.

It must be loaded before torch; no CUDA call is ever made.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# libtorch asks three questions before it lets autograd use a CUDA device.
# These answers are found first because the library is in the global scope
# before libtorch is loaded.
_SHIM = r"""
static int devices = 0;
#define API __attribute__((visibility("default")))
extern "C" API void simulate_devices(int n) { devices = n; }
extern "C" API int cuDevicePrimaryCtxGetState(int, unsigned *f, int *a) {
  *f = 0; *a = 0; return 0;
}
namespace c10 { namespace cuda {
API signed char device_count() noexcept { return devices; }
API signed char device_count_ensure_non_zero() { return devices; }
API bool hasPrimaryContext(signed char) { return false; }
}}
"""


def load_shim() -> ctypes.CDLL:
    """Compile the library once per user, and load it.

    Raises:
        ImportError: if torch has been imported already.
    """
    if 'torch' in sys.modules:
        raise ImportError('The device simulator must be imported before torch')
    folder = Path(tempfile.gettempdir()) / f'device_simulator_{os.getuid()}'
    # A changed source makes another library.
    digest = hashlib.sha256(_SHIM.encode()).hexdigest()[:12]
    library = folder / f'libshim_{digest}.so'
    if not library.is_file():
        folder.mkdir(exist_ok=True)
        source = folder / f'shim_{os.getpid()}.cpp'
        source.write_text(_SHIM)
        made = source.with_suffix('.so')
        command = [
            'g++',
            '-O1',
            '-shared',
            '-fPIC',
            '-Wl,-soname,libcuda.so.1',
        ]
        subprocess.run([*command, str(source), '-o', str(made)], check=True)
        made.replace(library)
        source.unlink()
    return ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL | os.RTLD_NOW)


#: ``simulate_devices(n)`` sets how many devices there are, at first none.
library = load_shim()
