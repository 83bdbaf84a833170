"""Git: refs, worktrees, merges and landing, for a plain repository. Nothing here knows of units.

The data's way: `base` reads, `checkout` makes and removes worktrees, `commit` records what is in
one, `merge` brings two commits together without a working tree, `landing` moves the base ref and
the checkout that has it open, `refs` and `salvage` see to it that nothing is ever lost. `run` is
the only place where a `git` process starts, and its docstring lists why each one must.

Every function blocks: call it off the event loop. A repository is named by its common directory
(`.git` of the main worktree, or the bare repository itself), a commit by its full hex name.
"""
