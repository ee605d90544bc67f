// Preloaded into children that are programs of their own (node --import): when the process that started them is gone,
// however it went, they end as if asked to. The channel to the parent alone does not keep them alive.
process.on("disconnect", () => process.kill(process.pid, "SIGTERM"));
process.channel?.unref();
