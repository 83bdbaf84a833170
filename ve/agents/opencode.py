"""OpenCode, headless: `opencode run --format json`.

Rules that come from what the program does (measured with 1.18.33):
  - Exit 0 proves nothing: it is also the exit of a run whose permission was rejected, or that never had its
    tools. Only a last step that ended with `stop` is a terminal statement, and only if no step follows.
  - A cut stream is a step that ended with `unknown`, after which it asks again at once, for ever; so does a
    conversation that is too long. Both are counted here, and the third in a row is the end.
  - It obeys any `retry-after` in silence, for hours, and tries five times again. A plugin of ours prints
    what it waits for, and ends it where `ve` does better: a long wait, and the third attempt.
  - Killed while it starts, it leaves a lock that the next start waits a minute for: `opencode_start`.
  - Nothing of the repository's own configuration is read unless the operator allows it, not even the
    AGENTS.md; that one is named as an instruction, since it is text and runs nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ve.agents.base import (
    TOOL_SERVER,
    Abilities,
    Event,
    Finished,
    Fitness,
    Job,
    Launch,
    Settings,
    tool_server,
)
from ve.agents.opencode_lines import Reader
from ve.agents.program import api_url, ask, missing, variables, versionless

KEYS: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "opencode": ("OPENCODE_API_KEY",),
    "google": ("GOOGLE_GENERATIVE_AI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "togetherai": ("TOGETHER_API_KEY",),
    "fireworks-ai": ("FIREWORKS_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "moonshotai": ("MOONSHOT_API_KEY",),
}
"""Provider -> the variables in which OpenCode looks for its key, the first one first."""
OWN = ("OPENCODE_CONFIG", "OPENCODE_CONFIG_DIR", "OPENCODE_MODELS_PATH")
START = (sys.executable, "-I", "-m", "ve.agents.opencode_start")
"""Takes away the locks of runs that were killed, then becomes OpenCode."""
PROVIDER = "custom"
"""What the provider of `base_url` is called where `model` names none."""
DAY_MS = 86_400_000
PLUGIN = "opencode-plugin.js"
PLUGIN_TEXT = """\
// Prints what `opencode run` keeps to itself: why it waits, and what it asked of nobody. Ends a long wait.
const LONG_MS = 120000
const LAST_ATTEMPT = 3
let refused = {}
const request = globalThis.fetch
const watched = async (...args) => {
  try {
    const reply = await request(...args)
    if (reply.status >= 400) {
      refused = { statusCode: reply.status, responseBody: (await reply.clone().text()).slice(0, 8000) }
    }
    return reply
  } catch (error) {
    refused = {}
    throw error
  }
}
globalThis.fetch = Object.assign(watched, request)
const say = (line, then) => process.stdout.write(JSON.stringify(line) + "\\n", then)
const end = () => process.exit(1)

export const ve = async () => ({
  event: async ({ event }) => {
    const { sessionID, status, permission } = event.properties ?? {}
    if (event.type === "permission.asked") say({ type: "ve_permission", sessionID, permission })
    if (event.type !== "session.status" || status.type !== "retry") return
    const timestamp = Date.now()
    const long = status.next - timestamp > LONG_MS
    const over = long || Boolean(status.action) || status.attempt >= LAST_ATTEMPT
    say({ type: "ve_retry", timestamp, sessionID, retry: status, refused, over }, over ? end : undefined)
  },
  "shell.env": async (_, output) => {
    output.env.npm_config_fetch_retries = "2"
  },
})
"""
ENVIRONMENT = {
    "OPENCODE_DISABLE_AUTOUPDATE": "true",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "true",
    "OPENCODE_DISABLE_MODELS_FETCH": "true",
    "npm_config_fetch_retries": "0",
}
"""It installs a package into its own folder at its start; without a registry that must fail soon. The
plugin gives the agent's shell npm's own number of retries back."""
PERMISSION: dict[str, Any] = {
    "*": "allow",
    # What it cut from a long output it keeps in a folder of its own, for the model to read.
    "external_directory": {"*": "deny", "*/opencode/tool-output/*": "allow"},
    "question": "deny",
    "plan_enter": "deny",
    "plan_exit": "deny",
    "task": "deny",
}


class OpenCode:
    """Adapter of OpenCode."""

    name: ClassVar[str] = "opencode"
    title: ClassVar[str] = "OpenCode"
    install: ClassVar[str] = "npm install -g opencode-ai"
    abilities: ClassVar[Abilities] = Abilities(turn_limit=True, budget=True)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._command = settings.command or ("opencode",)
        self._reader = Reader(settings.max_turns, settings.budget_usd)

    # ── Before a run ───────────────────────────────────────────────────────────────────────────────

    def check(self) -> Fitness:
        """Asks the program for its version, and for the model where one is configured: 1 to 3 s."""
        if lack := missing(self.title, self._command, self.install):
            return lack
        version = self._ask("--version").strip()
        if not version[:1].isdigit():
            return versionless(self._command, self.install)
        if self._settings.base_url:
            return Fitness(ok=True, version=version, login="not needed")
        if not self._settings.model:
            return Fitness(ok=True, version=version, login="yes" if self._accounts() else "unknown")
        return self._model(version, self._settings.model)

    def _model(self, version: str, model: str) -> Fitness:
        """What it does with a model that it does not have says nothing at all, so it is asked before."""
        provider = model.partition("/")[0]
        known = self._ask("models", provider).split()
        if model in known:
            return Fitness(ok=True, version=version, login="yes")
        if known:
            hint = f"Choose one that `opencode models {provider}` lists: agents.opencode.model"
            return Fitness(
                ok=False, version=version, login="yes", reason=f"{self.title} has no model {model}", hint=hint
            )
        key = f", or start the daemon with {KEYS[provider][0]} set" if provider in KEYS else ""
        return Fitness(
            ok=False,
            version=version,
            reason=f"{self.title} is not logged in to {provider}",
            hint=f"Log in with `opencode auth login`{key}.",
            login="no",
        )

    def _accounts(self) -> bool:
        """Whether it was logged in anywhere, or a key of a provider is here."""
        env = self._seen_environment()
        data = Path(env.get("XDG_DATA_HOME") or Path(env.get("HOME", "/")) / ".local" / "share")
        try:
            stored = msgspec.json.decode((data / "opencode" / "auth.json").read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            stored = {}
        return bool(stored) or any(env.get(name) for names in KEYS.values() for name in names)

    def _ask(self, *arguments: str) -> str:
        """What it prints; "" when it does not answer in time, or ends badly."""
        answer = ask((*self._command, *arguments), self._seen_environment())
        return answer.text if answer.code == 0 else ""

    def _seen_environment(self) -> dict[str, str]:
        """What of this environment a run will see and an answer can depend on."""
        names = ("PATH", "HOME", "USER", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
        here = {name: os.environ[name] for name in (*names, *self._passes()) if name in os.environ}
        return {**here, **self._environment()}

    # ── A run ──────────────────────────────────────────────────────────────────────────────────────

    def launch(self, job: Job) -> Launch:
        """The prompt is its stdin. A conversation goes on only in the folder where it began: the worktree."""
        config = {"OPENCODE_CONFIG_CONTENT": _json(self._config(job))}
        return Launch(
            argv=self._argv(job),
            env={**self._environment(), **config},
            stdin=f"{job.run_dir}/prompt.md",
            files={PLUGIN: PLUGIN_TEXT},
            passes=self._passes(),
        )

    def _argv(self, job: Job) -> tuple[str, ...]:
        """A title saves a call of the model; `--thinking` shows that it is alive."""
        argv = [*START, *self._command, "run", "--format", "json", "--thinking", "--dir", job.worktree]
        argv += ["--title", f"{job.chunk} {job.phase}"]
        if self._settings.model or self._settings.base_url:
            argv += ["-m", "/".join(self._provider_and_model())]
        if job.resume and job.session and job.session.startswith("ses_"):
            argv += ["-s", job.session]
        return (*argv, *self._settings.args)

    def _provider_and_model(self) -> tuple[str, str]:
        provider, slash, model = self._settings.model.partition("/")
        return (provider, model) if slash else (PROVIDER, provider or "default")

    def _config(self, job: Job) -> dict[str, Any]:
        server = tool_server(job)
        config: dict[str, Any] = {
            "default_agent": "build",
            "permission": PERMISSION,
            "snapshot": False,
            "share": "disabled",
            "autoupdate": False,
            "instructions": [f"{job.worktree}/AGENTS.md"],
            "plugin": [f"file://{job.run_dir}/{PLUGIN}"],
            "mcp": {
                TOOL_SERVER: {
                    "type": "local",
                    "command": [server.command, *server.args],
                    "environment": server.env,
                    "enabled": True,
                    "timeout": DAY_MS,
                }
            },
        }
        if self._settings.base_url:
            provider, model = self._provider_and_model()
            config["provider"] = {provider: _provider(self._settings.base_url, provider, model)}
        return config

    def _environment(self) -> dict[str, str]:
        project = {} if self._settings.repo_config else {"OPENCODE_DISABLE_PROJECT_CONFIG": "true"}
        return {**ENVIRONMENT, **project, **variables(self._settings.env).env}

    def _passes(self) -> tuple[str, ...]:
        """Only the key of the model's provider; all of them where OpenCode chooses the model itself."""
        own = (*OWN, *variables(self._settings.env).passes)
        if not self._settings.model and not self._settings.base_url:
            return (*own, *(name for names in KEYS.values() for name in names))
        return (*own, *_keys(self._provider_and_model()[0]))

    # ── Its output ─────────────────────────────────────────────────────────────────────────────────

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """The events of one line; unknown lines are none."""
        return self._reader.line(line)

    def explain(self, stderr_tail: str) -> Finished | None:
        """A run that ends before its first event says why on stderr alone."""
        if any(line.strip().endswith("Session not found") for line in stderr_tail.splitlines()):
            return Finished(False, "it does not have that conversation any more", "session")
        return None


def _keys(provider: str) -> tuple[str, ...]:
    return KEYS.get(provider) or KEYS["opencode"]


def _provider(base_url: str, provider: str, model: str) -> dict[str, Any]:
    """A backend that speaks Chat Completions; a bare host stands for its `/v1`. No key: none is sent."""
    return {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": api_url(base_url), "apiKey": f"{{env:{_keys(provider)[0]}}}"},
        "models": {model: {}},
    }


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
