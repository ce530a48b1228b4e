"""The help of commands, from their docstrings."""


def reflowed(text: str) -> str:
    """Join the lines of each paragraph, so that the terminal wraps them. Indented paragraphs, such as examples, stay.

    Typer keeps the line breaks of every paragraph but the first, which are those of the source code.
    """
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else part.replace("\n", " ") for part in paragraphs)
