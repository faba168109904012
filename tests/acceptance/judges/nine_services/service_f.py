from node import connect, serve

resonate = connect("service-f")


# by its description: the last of the detached chain prints its value
@resonate.register
def cog(_, arg):
    print(f"cog: {arg}", flush=True)
    return arg


if __name__ == "__main__":
    serve(resonate)
