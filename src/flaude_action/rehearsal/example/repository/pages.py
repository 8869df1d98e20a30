"""How a long list is cut into pages."""


def page_count(items: int, size: int) -> int:
    """How many pages of `size` items hold `items`."""
    return items // size + 1
