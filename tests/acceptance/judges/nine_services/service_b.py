from node import connect, serve

resonate = connect("service-b")


# verbatim: "Async RPC between services", Service A → Service B; the print is ours
@resonate.register
def bar(ctx):
    print("running function bar", flush=True)
    result = yield ctx.rfc("baz").options(target="poll://service-c")
    return result + 1


if __name__ == "__main__":
    serve(resonate)
