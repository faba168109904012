from flask import Flask, jsonify
from node import connect

app = Flask("gateway")
resonate = connect("gateway", id="gateway")


# verbatim: the description of the example application, "The shape of the solution"
@app.route("/await-chain", methods=["POST"])
def await_chain_route_handler():
    try:
        print("running await_chain_route_handler")
        promise_id = "await-chain"
        handle = resonate.options(target="poll://service-a").rpc(promise_id, "foo")
        print("waiting on result")
        message = handle.result()
        return jsonify({"message": message}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500


# by its description: it discards the handle, and answers at once
@app.route("/detached-chain", methods=["POST"])
def detached_chain_route_handler():
    try:
        promise_id = "detached-chain"
        resonate.options(target="poll://service-d").rpc(promise_id, "qux")
        return jsonify({"message": "detached-chain started"}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500


# by its description
@app.route("/fan-out-workflow", methods=["POST"])
def fan_out_workflow_route_handler():
    try:
        promise_id = "fan-out-workflow"
        handle = resonate.options(target="poll://service-g").rpc(promise_id, "zim", 1)
        message = handle.result()
        return jsonify({"message": message}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500


if __name__ == "__main__":
    app.run(port=5000)
