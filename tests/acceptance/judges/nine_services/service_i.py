from node import connect, serve

resonate = connect("service-i")


# by its description
@resonate.register
def dop(_):
    return 1


if __name__ == "__main__":
    serve(resonate)
