"""Chapters → pages: papermill executes the chapters, jupyter-book renders them, the built HTML is checked."""

from aelib.book.cache import Line
from aelib.book.chapter import chapters
from aelib.book.driver import build, build_chapter, profile_of
