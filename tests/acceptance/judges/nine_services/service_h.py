from node import connect, serve

resonate = connect("service-h")


# by its description
@resonate.register
def rax(_):
    return 1


if __name__ == "__main__":
    serve(resonate)
