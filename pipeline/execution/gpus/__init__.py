"""The decomposition on graphics cards, by CuPy, which only this package imports, and only where a card is used."""
