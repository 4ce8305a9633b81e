"""Where a commit of a repository is shown, from its URL alone."""

from __future__ import annotations

import pytest

from dataops_dagster import urls


@pytest.mark.parametrize(
    ("repository", "page"),
    [
        ("https://github.com/acme/shop.git", "https://github.com/acme/shop/commit/c0ffee"),
        ("git@github.com:acme/shop.git", "https://github.com/acme/shop/commit/c0ffee"),
        (
            "ssh://git@gitlab.example.com:2222/data/team/shop.git",
            "https://gitlab.example.com/data/team/shop/-/commit/c0ffee",
        ),
        (
            "https://gitlab.example.com:8443/data/shop",
            "https://gitlab.example.com:8443/data/shop/-/commit/c0ffee",
        ),
        ("https://bitbucket.org/acme/shop", "https://bitbucket.org/acme/shop/commits/c0ffee"),
    ],
)
def test_a_commit_has_a_page_at_the_hosts_we_know(repository, page):
    assert urls.commit_page(repository, "c0ffee") == page


@pytest.mark.parametrize(
    "repository",
    [
        "https://git.example.com/github/shop.git",
        "https://notgithub.com/acme/shop",
        "../github.com/acme/shop.git",
        "file:///srv/gitlab/shop.git",
        "ext::sh -c github.com",
    ],
)
def test_other_places_have_no_page(repository):
    assert urls.commit_page(repository, "c0ffee") is None


def test_a_branch_name_is_quoted_and_its_slashes_are_kept():
    page = urls.branch_page("https://github.com/acme/shop", "release/v1 [x](y)")
    assert page == "https://github.com/acme/shop/tree/release/v1%20%5Bx%5D%28y%29"
