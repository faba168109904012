from node import connect, serve

resonate = connect("service-e")


# by its description: it has a promise for `result`, never yields it, and adds 1 to it
@resonate.register
def quz(ctx, arg):
    result = yield ctx.detached("cog", arg + 1).options(target="poll://service-f")
    return result + 1


if __name__ == "__main__":
    serve(resonate)
