"""``python -m cli``: what the launcher becomes."""

from cli.main import app

if __name__ == "__main__":
    app(prog_name="florin")
