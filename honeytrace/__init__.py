"""Tracing for programs that call language models."""
