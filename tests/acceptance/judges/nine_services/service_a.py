from node import connect, serve

resonate = connect("service-a")


# verbatim: "Async RPC between services", Service A → Service B
@resonate.register
def foo(ctx):
    # ctx.rfc dispatches to service-b and waits for the result.
    # Both sides are durable; the call resumes if either process crashes.
    result = yield ctx.rfc("bar").options(target="poll://service-b")
    return result + 1


if __name__ == "__main__":
    serve(resonate)
