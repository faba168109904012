"""Durable functions that run agents of three libraries, with models that are functions.

A model that is a function costs nothing and gives the same answers each time; everything else of
the libraries is real. Agents use tools in parallel, and each tool makes a call through ``ctx``.
"""

# The libraries are installed by `make agents` only, so they are of no known type here.
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, TypedDict

from understudy import Context, Runtime


class Sums(TypedDict, total=False):
    """The state of the graph of LangGraph."""

    left: int
    right: int
    total: int


async def double(ctx: Context, number: int) -> int:
    """Double a number, and note in the ledger that it was done."""
    await asyncio.sleep(0.05 * number)
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{ctx.id}\n")
    return number * 2


async def pydantic_ai(ctx: Context) -> list[int]:
    """Run an agent of pydantic-ai that calls a tool three times at once."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    def model(messages: list[Any], _: Any) -> ModelResponse:
        if len(messages) == 1:
            calls = [ToolCallPart("double_it", {"number": number}) for number in (3, 1, 2)]
            return ModelResponse(parts=calls)
        return ModelResponse(parts=[TextPart(json.dumps([p.content for p in messages[-1].parts]))])

    agent = Agent(FunctionModel(model))

    @agent.tool_plain
    async def double_it(number: int) -> int:
        return await ctx.rpc(double, number)

    return json.loads((await agent.run("double these")).output)


async def openai_agents(ctx: Context) -> list[int]:
    """Run an agent of the OpenAI agents SDK that calls a tool three times at once."""
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    from agents import (
        Agent,
        Model,
        ModelResponse,
        Runner,
        Usage,
        function_tool,
        set_tracing_disabled,
    )

    set_tracing_disabled(True)

    class Scripted(Model):
        turns = 0

        async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
            self.turns += 1
            if self.turns > 1:
                text = ResponseOutputText(annotations=[], text="done", type="output_text")
                said = ResponseOutputMessage(
                    id="1", content=[text], role="assistant", status="completed", type="message"
                )
                return ModelResponse(output=[said], usage=Usage(), response_id=None)
            calls = [
                ResponseFunctionToolCall(
                    arguments=json.dumps({"number": number}),
                    call_id=str(number),
                    name="double_it",
                    type="function_call",
                )
                for number in (3, 1, 2)
            ]
            return ModelResponse(output=calls, usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    @function_tool
    async def double_it(number: int) -> int:
        """Double a number."""
        return await ctx.rpc(double, number)

    agent = Agent(name="doubler", model=Scripted(), tools=[double_it])
    run = await Runner.run(agent, "double these")
    return [int(item.output) for item in run.new_items if hasattr(item, "output")]


async def langgraph(ctx: Context) -> list[int]:
    """Run a graph of LangGraph with two nodes side by side and a third one after them."""
    from langgraph.graph import END, START, StateGraph

    async def left(_: Sums) -> Sums:
        return {"left": await ctx.rpc(double, 2)}

    async def right(_: Sums) -> Sums:
        return {"right": await ctx.rpc(double, 1)}

    async def total(sums: Sums) -> Sums:
        return {"total": await ctx.rpc(double, sums["left"] + sums["right"])}

    graph = StateGraph(Sums)
    for name, node in (("l", left), ("r", right), ("t", total)):
        graph.add_node(name, node)
    for start, end in ((START, "l"), (START, "r"), (["l", "r"], "t"), ("t", END)):
        graph.add_edge(start, end)
    found = await graph.compile().ainvoke({})
    return [found["left"], found["right"], found["total"]]


#: the functions, with the result of each
AGENTS = {
    pydantic_ai: [6, 2, 4],
    openai_agents: [6, 2, 4],
    langgraph: [4, 2, 12],
}


def main(name: str, store: str) -> None:
    """Call the agent `name`, or go on with the call, and print its result."""
    runtime = Runtime.local(store, loop="asyncio")
    for function in (double, *AGENTS):
        runtime.register(function)
    with runtime:
        print(json.dumps(runtime.rpc(name, name).result(60)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
