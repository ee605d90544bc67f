// Through `npm run -s tallystick`: arguments, stdin, exit code and the user's folder come through, and nothing else is said.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encryptKey } from "../../sdk/src/cli/keystore.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const KEY = `0x${"11".repeat(32)}` as const;

describe("tallystick through the launcher", function () {
  this.timeout(120_000);
  let folder = "";
  before(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), "tallystick-launcher-")));
    await writeFile(join(folder, "mine.json"), JSON.stringify(await encryptKey(KEY, "long enough", { n: 1_024, r: 8, p: 1 })));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const run = async (command: string, args: string[], stdin = "", env: Record<string, string> = {}) => {
    const child = spawn(command, args, { cwd: folder, env: { ...process.env, npm_lifecycle_event: undefined, INIT_CWD: undefined, ...env }, stdio: "pipe" });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
    child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
    child.stdin.end(stdin);
    const code = await new Promise((done) => child.once("close", done));
    return { code, stdout, stderr };
  };

  it("paths are those of the folder one stands in, under npm and without it", async () => {
    const args = ["keystore", "show", "mine.json", "--json"];
    const plain = await run(process.execPath, [join(root, "scripts/launch.mjs"), "sdk/src/cli/main.ts", ...args]);
    expect([plain.code, plain.stderr]).deep.equal([0, ""]);
    expect(JSON.parse(plain.stdout)).include({ path: join(folder, "mine.json"), checked: false });
    const npm = await run("npm", ["--prefix", root, "run", "-s", "tallystick", "--", ...args]);
    expect([npm.code, JSON.parse(npm.stdout)]).deep.equal([0, JSON.parse(plain.stdout)]);
  });

  it("stdin and the exit code come through", async () => {
    const env = { TALLYSTICK_KEYSTORE_PASSWORD: "long enough" };
    const ran = await run(process.execPath, [join(root, "scripts/launch.mjs"), "sdk/src/cli/main.ts", "keystore", "import", "--out", "imported.json", "--json"], KEY, env);
    expect([ran.code, JSON.parse(ran.stdout).path]).deep.equal([0, join(folder, "imported.json")]);
    const again = await run(process.execPath, [join(root, "scripts/launch.mjs"), "sdk/src/cli/main.ts", "keystore", "import", "--out", "imported.json"], KEY, env);
    expect([again.code, again.stdout]).deep.equal([2, ""]);
    expect(again.stderr).match(/^tallystick: .*exists already/);
  });

  it("up hands its options to npm start", async () => {
    const ran = await run(process.execPath, [join(root, "scripts/launch.mjs"), "sdk/src/cli/main.ts", "up", "--documents", "none"]);
    expect(ran.code).equal(2);
    expect(ran.stderr).include("--documents must be a whole number");
  });
});
