"""Used once, by this chunk: puts an example in the place of the section's only sentence."""

from pathlib import Path

EXAMPLE = """\
A wrong line is shown with its place and with what belongs there:

    list:3: soon Release
      expected a date such as 2026-11-30
"""

readme = Path("README.md")
text = readme.read_text(encoding="utf-8")
readme.write_text(text.replace("Nothing is explained yet.\n", EXAMPLE), encoding="utf-8")
