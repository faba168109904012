from node import connect, serve

resonate = connect("service-d")


# by its description: it discards the promise
@resonate.register
def qux(ctx):
    yield ctx.detached("quz", 1).options(target="poll://service-e")


if __name__ == "__main__":
    serve(resonate)
