"""What setup.cfg cannot say: where the packages are, and README as the long description.

Copies of configs/ and launch/ are installed in `sfvae_jax/_shipped`, where `sfvae_jax.shipped`
finds them.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

# The web address of the repository, such as https://github.com/OWNER/sfvae_jax, once it has one.
# Links and pictures of the long description lead there; without an address they are left out.
REPOSITORY = ""

_SHIPPED = "sfvae_jax._shipped"
_LINK = re.compile(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\((?!https?://|#)([^)\s]+)\)")


def absolute_links(text: str, repository: str) -> str:
    """Makes the relative links of a page in Markdown absolute.

    Args:
        text: the page.
        repository: the web address of the repository; if it is empty, links become plain text and
            pictures their descriptions.
    """

    def replaced(match: re.Match) -> str:
        mark, shown, target = match.groups()
        if not repository:
            return shown
        kind = "raw" if mark else "blob"
        return f"{mark}[{shown}]({repository}/{kind}/main/{target})"

    return _LINK.sub(replaced, text)


def packages() -> list[str]:
    """Returns the names of all packages, with the copies of launch/ and configs/."""
    launch = find_packages(include=["launch*"])
    copies = [f"{_SHIPPED}.{name}" for name in ("configs", *launch)]
    return [*find_packages(include=["sfvae_jax*"]), *copies]


if __name__ == "__main__":
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    setup(
        packages=packages(),
        package_dir={f"{_SHIPPED}.{name}": name for name in ("configs", "launch")},
        long_description=absolute_links(readme, REPOSITORY),
        long_description_content_type="text/markdown",
        **({"project_urls": {"Source": REPOSITORY}} if REPOSITORY else {}),
    )
