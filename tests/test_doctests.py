# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings run and give what they say."""

import doctest
import importlib
import pkgutil

import pytest
import s4m

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(s4m.__path__, 's4m.')
)


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0, 'the output above says which example'


def test_examples__some_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    tests = [test for module in modules for test in finder.find(module)]
    assert sum(bool(test.examples) for test in tests) >= 10
