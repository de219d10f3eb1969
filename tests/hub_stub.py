"""What `datasets.load_dataset(..., streaming=True)` gives, as far as we use it: rows that may break off."""


class Rows:
    """A streamed data set; `breaks_after` counts rows from the very first, skipped ones included."""

    def __init__(self, rows, breaks_after=None):
        self.rows, self.breaks_after = rows, breaks_after
        self.skipped = 0

    def skip(self, n):
        self.skipped = n
        return self

    def __iter__(self):
        for i, row in enumerate(self.rows):
            if i == self.breaks_after:
                raise ConnectionError("connection reset")
            if i >= self.skipped:
                yield row
