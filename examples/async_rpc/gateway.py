"""The gateway: each HTTP request becomes a durable call.

A request ends when the gateway or curl crashes; the call does not. The call's id is fixed, so the
same request sent again attaches to the same call. The query parameter ``id`` gives another id, and
so another call; ``seconds`` is how long service-c works.

Run it with ``python -m examples.async_rpc.gateway``. PORT in the environment is the port to listen
at. [default: 5000]
"""

import os

from flask import Flask, Response, jsonify, request

from understudy import Runtime

app = Flask(__name__)
runtime = Runtime(group="gateway")

Answer = tuple[Response, int]


@app.route("/await-chain", methods=["POST"])
def await_chain_route_handler() -> Answer:
    try:
        print("running await_chain_route_handler")
        promise_id = request.args.get("id", "await-chain")
        seconds = request.args.get("seconds", 0.0, type=float)
        handle = runtime.options(target="poll://service-a").rpc(promise_id, "foo", seconds)
        print("waiting on result")
        message = handle.result()
        return jsonify({"message": message}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500


@app.route("/detached-chain", methods=["POST"])
def detached_chain_route_handler() -> Answer:
    try:
        print("running detached_chain_route_handler")
        promise_id = request.args.get("id", "detached-chain")
        runtime.options(target="poll://service-d").rpc(promise_id, "qux")
        return jsonify({"message": "detached-chain started"}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500


@app.route("/fan-out-workflow", methods=["POST"])
def fan_out_workflow_route_handler() -> Answer:
    try:
        print("running fan_out_workflow_route_handler")
        promise_id = request.args.get("id", "fan-out-workflow")
        handle = runtime.options(target="poll://service-g").rpc(promise_id, "zim", 1)
        print("waiting on result")
        message = handle.result()
        return jsonify({"message": message}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "5000")), threaded=True)
