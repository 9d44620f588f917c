"""Groups that become one, whatever the order in which they are joined."""


class Unions:
    """Joins names; each set of joined names is known by its smallest."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, one: str, other: str) -> bool:
        """Joins the sets of two names; False where they were one already."""
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
