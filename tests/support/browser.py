"""What tests of the leaderboard page do in a browser: read, press, choose."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Open = Callable[..., Any]


def names(browser: Any) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('button.name')].map((b) => b.textContent)"
    )
    return found


def press(browser: Any, *keys: str) -> None:
    chain = importlib.import_module("selenium.webdriver").ActionChains(browser)
    for key in keys:
        chain = chain.send_keys(key)
    chain.perform()


def key(name: str) -> str:
    keys = importlib.import_module("selenium.webdriver.common.keys").Keys
    return str(getattr(keys, name))


def element(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def choose(browser: Any, field: str, value: str) -> None:
    select = importlib.import_module("selenium.webdriver.support.ui").Select
    select(element(browser, f"#f-{field}")).select_by_value(value)
