"""Union-find over names: joins sets of names; the result does not depend on the order of joins."""


class Unions:
    """Joins names into sets; each set is identified by its smallest name."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, one: str, other: str) -> bool:
        """Joins the sets of two names. Returns False if they were in one set already."""
        first, second = sorted((self.root(one), self.root(other)))
        if first == second:
            return False
        self._above[second] = first
        return True

    def root(self, name: str) -> str:
        """The smallest name of the set that `name` is in."""
        while name in self._above:
            name = self._above[name]
        return name
