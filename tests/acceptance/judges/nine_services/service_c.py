from node import connect, serve

resonate = connect("service-c")


# by its description: the last of the chain, whose result is 1
@resonate.register
def baz(_):
    print("running function baz", flush=True)
    return 1


if __name__ == "__main__":
    serve(resonate)
