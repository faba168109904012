from node import connect, serve

resonate = connect("service-g")


# verbatim: the description of the example application, "The shape of the solution"
@resonate.register
def zim(ctx, arg):
    print("running function zim")
    promise_bar = yield ctx.rfi("rax").options(target="poll://service-h")
    promise_baz = yield ctx.rfi("dop").options(target="poll://service-i")
    result_bar = yield promise_bar
    result_baz = yield promise_baz
    return result_bar + result_baz + arg


if __name__ == "__main__":
    serve(resonate)
