// Runs mocha test files given as arguments and reports the counts. Its output is mocha's own.
import Mocha from "mocha";
import { endWithRunner, finish, send } from "./report.ts";

endWithRunner();
const mocha = new Mocha({ timeout: 30_000, reporter: "spec", color: false, forbidOnly: true, forbidPending: true });
for (const file of process.argv.slice(2)) mocha.addFile(file);
await mocha.loadFilesAsync();

const counts = { passed: 0, failed: 0 };
const runner = mocha.run(() => finish(counts));
runner.on("pass", () => send({ ...counts, passed: ++counts.passed, done: false }));
runner.on("fail", () => send({ ...counts, failed: ++counts.failed, done: false }));
