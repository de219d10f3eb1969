"""A page of tokens, read back: its elements nest, it needs no other file, and these are its tokens and texts."""

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Checks that elements nest, and collects tokens and the scripts."""

    EMPTY = frozenset({"meta", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tokens, self.special, self.scripts, self.notes, self.headings = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert not {"src", "href"} & set(attributes), "the page needs another file"
        if tag in self.EMPTY:
            return
        self.open.append(tag)
        if tag == "b":
            assert self.open[-2] == "pre"
            self.tokens.append([int(attributes["data-i"]), ""])
            if attributes.get("class") == "special":
                self.special.append(int(attributes["data-i"]))
        elif tag == "script":
            self.scripts.append("")
        elif tag == "p":
            self.notes.append("")
        elif tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "b" in self.open:
            self.tokens[-1][1] += data
        elif self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] == "p":
            self.notes[-1] += data
        elif self.open and self.open[-1] == "h2":
            self.headings[-1] += data
