# Tools of the project's own virtual environment if there is one, else those on the PATH.
bin := if path_exists(".venv/bin/python") == "true" { ".venv/bin/" } else { "" }

# List the recipes
default:
    @just --list --unsorted

# Make .venv and install ve with everything that its tests need
setup:
    python3 -m venv --without-pip .venv
    python3 -m pip --python .venv install -q -e '.[dev]'

# Run the demo: six chunks at once on a small project, on the board
demo *args:
    {{bin}}ve demo {{args}}

# Run the tests, on two cores; arguments go to pytest
test *args:
    {{bin}}python -m pytest -n 2 {{args}}

# Everything that is read and not run: style, layout, types, the way of imports, our own documents
check:
    {{bin}}ruff check .
    {{bin}}ruff format --check .
    {{bin}}mypy
    {{bin}}lint-imports
    {{bin}}ve chunk validate --all --strict

# What must pass before a change lands
ci: check test

# Measure, and print a table
bench *args:
    {{bin}}python tests/bench/run.py {{args}}

# Write the generated pages of docs/reference anew
docs:
    {{bin}}python docs/build.py
    {{bin}}python docs/generate_cli.py
    {{bin}}python docs/generate_documents.py
    {{bin}}python docs/generate_lifecycle.py

# Kill the daemon at every point and at random moments, many times (some ten minutes)
soak *args:
    SOAK=1 {{bin}}python -m pytest tests/faults --timeout 1800 {{args}}

# The real agents in every way to fail, also the slow ones (some two minutes)
clients *args:
    CLIENTS=all {{bin}}python -m pytest -n 2 tests/agents tests/e2e tests/faces/test_demo_agent.py --timeout 600 {{args}}

# Search the state machine breadth first, some millions of states (minutes)
model:
    MODEL=large {{bin}}python -m pytest tests/core/test_model.py --timeout 1800 -s
