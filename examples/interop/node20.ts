// The SDK uses Promise.withResolvers, which Node has since version 22.

(Promise as any).withResolvers ??= () => {
  const made: any = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};
