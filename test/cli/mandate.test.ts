// tallystick mandate, policy and guard: real processes, a real relayer and chain, from `mandate create` to a paid call and its end.
import { expect } from "chai";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { childEnvironment } from "../../scripts/local/process.ts";
import { LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { tallystick, type Ran } from "../support/cli.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const [PERSON, AGENT, HELPER] = [1, 2, 3];
const PAYEE = addressOf(ROLE.receiver);
const BINARY = fileURLToPath(new URL("../../sdk/src/cli/main.ts", import.meta.url));

describe("tallystick mandate, policy, guard", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let folder: string;
  let guard: { child: ChildProcess; url: string };
  let file: string;

  before(async () => {
    [world, folder] = await Promise.all([startTestWorld(), mkdtemp(join(tmpdir(), "tallystick-mandate-"))]);
    await world.chain.mintUSDC(addressOf(PERSON), 10_000_000n);
    guard = await startGuard();
  });
  after(async () => {
    await stop(guard.child);
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const at = (index: number, guardUrl = guard?.url) => ({
    TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_REGISTRY: LOCAL_MANDATE_REGISTRY, TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_STATE: join(folder, String(index)),
    ...(guardUrl === undefined ? {} : { TALLYSTICK_GUARD_URL: guardUrl }),
  });
  const run = (index: number, args: string[], env: Record<string, string> = {}): Promise<Ran> => tallystick(args, { env: { ...at(index), ...env } });

  /** Its state is the person's, where the agent does not read. */
  async function startGuard(): Promise<{ child: ChildProcess; url: string }> {
    const { TALLYSTICK_PRIVATE_KEY: _none, ...env } = at(PERSON, "http://127.0.0.1:1");
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", BINARY, "guard", "--port", "0", "--json"], { env: childEnvironment({ HOME: "/nonexistent", ...env, TALLYSTICK_KEYSTORE_PASSWORD: "a long passphrase" }), stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
    const url = await new Promise<string>((done, failed) => {
      child.stdout.setEncoding("utf8").once("data", (text: string) => done((JSON.parse(text) as { url: string }).url));
      child.once("exit", (code) => failed(new Error(`the guard ended with ${code}: ${said}`)));
    });
    return { child, url };
  }

  async function stop(child: ChildProcess): Promise<number | null> {
    const ended = new Promise<number | null>((done) => child.once("exit", done));
    child.kill("SIGTERM");
    return ended;
  }

  it("create: signs, allows, and says the most that a stolen key can cost", async () => {
    const ran = await run(PERSON, ["mandate", "create", "--agent", addressOf(AGENT), "--limit", "0.5", "--per-period", "0.2", "--period", "12h", "--per-payment", "0.1", "--payee", PAYEE, "--valid-for", "1d", "--allow", "--json"]);
    expect(ran.code, ran.stdout + ran.stderr).equal(0);
    expect(ran.json).deep.include({ state: "valid", depth: 0, payees: [PAYEE], onChain: { approved: false, spentAtomic: "0" }, guard: null });
    expect(ran.json["mandate"]).include({ limit: "500000", periodLimit: "200000", paymentLimit: "100000", period: 43_200 });
    // Two whole periods and the beginning of a third until it ends; 0.5 in all is less.
    expect(ran.json["exposure"]).include({ agentKeyAtomic: "500000", withVoucherKeyAtomic: "500000" });
    expect(ran.json["transactions"].allowance).match(/^0x[0-9a-f]{64}$/);
    file = ran.json["file"] as string;
  });

  it("pay: the agent pays the person's money by its own key, and its guard signs", async () => {
    const paid = await run(AGENT, ["pay", `${world.url}/s/echo/hello`, "--mandate", file, "--json"]);
    expect(paid.code, paid.stdout + paid.stderr).equal(0);
    expect(paid.json).include({ status: 200 });
    expect(paid.json["payment"]).include({ scheme: "batch-settlement", chargedAtomic: "1000" });
    const shown = await run(PERSON, ["mandate", "show", file, "--json"]);
    expect(shown.json["guard"]).include({ spentAtomic: "1000" });
    expect(shown.json["onChain"]).deep.equal({ approved: true, spentAtomic: "100000" });
    // What the chain leaves, and what is in the channel above what is signed: all but the call that was paid.
    expect(shown.json["exposure"]).include({ agentKeyAtomic: "499000", withVoucherKeyAtomic: "499000" });
    const text = await run(PERSON, ["mandate", "show", file]);
    expect(text.stdout).match(/the agent's key stolen +0\.499 USDC, .* within a day +to 0x/).and.match(/deposited +0\.1 USDC/);
  });

  it("a sub-mandate is made by the agent, is narrower, and stands in the tree", async () => {
    const wider = await run(AGENT, ["mandate", "create", "--parent", file, "--agent", addressOf(HELPER), "--limit", "0.6", "--json"]);
    expect([wider.code, wider.json["error"].code]).deep.equal([1, "mandate_too_wide"]);
    const made = await run(AGENT, ["mandate", "create", "--parent", file, "--agent", addressOf(HELPER), "--limit", "0.01", "--json"]);
    expect(made.code, made.stdout + made.stderr).equal(0);
    expect(made.json).include({ depth: 1 });
    const paid = await run(HELPER, ["pay", `${world.url}/s/echo/sub`, "--mandate", made.json["file"] as string, "--max-deposit", "0.01", "--json"]);
    expect(paid.code, paid.stdout + paid.stderr).equal(0);
    const tree = await run(AGENT, ["mandate", "tree", made.json["file"] as string, "--json"]);
    expect(tree.json["mandates"].map(({ mandateId }: { mandateId: string }) => mandateId)).include(made.json["mandateId"]);
    expect((await run(AGENT, ["mandate", "list"])).stdout).match(/0x[0-9a-f]{10} +valid +0\.01/);
  });

  it("policy: test says what it would do, apply puts it in force with the running guard, an older version is stale", async () => {
    const policy = (version: number, rules: object) => ({ format: "tallystick-policy/1", owner: addressOf(PERSON).toLowerCase(), name: "house", version, subject: { kind: "mandate" }, rules });
    const path = join(folder, "policy.json");
    const allowed = { payees: { allow: "any" }, capabilities: { allow: "any" } };
    await writeFile(path, JSON.stringify(policy(1, { ...allowed, price: { max: "999" } })));
    const asked = await run(PERSON, ["policy", "test", path, "--payee", PAYEE, "--price", "0.001", "--mandate", file, "--json"]);
    expect([asked.code, asked.json["decision"], asked.json["rule"]]).deep.equal([3, "REJECTED", "price.max"]);
    expect((await run(AGENT, ["policy", "apply", path, "--json"])).json["error"].code).equal("policy_owner");
    expect((await run(PERSON, ["policy", "apply", path, "--json"])).code).equal(0);
    await new Promise((later) => setTimeout(later, 700)); // the guard looks twice a second
    const blocked = await run(AGENT, ["pay", `${world.url}/s/echo/dear`, "--mandate", file, "--json"]);
    expect([blocked.code, blocked.json["error"].code, blocked.json["error"].rule]).deep.equal([3, "firewall_rejected", "price.max"]);
    expect(blocked.json["error"].proof).include({ money_never_moved: true });

    await writeFile(path, JSON.stringify(policy(2, allowed)));
    expect((await run(PERSON, ["policy", "apply", path, "--json"])).code).equal(0);
    await new Promise((later) => setTimeout(later, 700));
    expect((await run(AGENT, ["pay", `${world.url}/s/echo/again`, "--mandate", file, "--json"])).code).equal(0);
    await writeFile(path, JSON.stringify(policy(1, { stop: true })));
    expect((await run(PERSON, ["policy", "apply", path, "--json"])).code).equal(0);
    await new Promise((later) => setTimeout(later, 700));
    expect((await run(AGENT, ["pay", `${world.url}/s/echo/stale`, "--mandate", file, "--json"])).json["error"].code).equal("policy_stale");
    await writeFile(path, JSON.stringify(policy(3, allowed)));
    expect((await run(PERSON, ["policy", "apply", path, "--json"])).code).equal(0);
  });

  it("guard: goes on where it was after a restart, opens with its passphrase alone", async () => {
    expect(await stop(guard.child)).equal(0);
    const wrong = await tallystick(["guard", "--port", "0", "--json"], { env: { ...at(PERSON, "http://127.0.0.1:1"), TALLYSTICK_KEYSTORE_PASSWORD: "another passphrase" } });
    expect([wrong.code, wrong.json["error"].code]).deep.equal([2, "keystore_password_wrong"]);
    const down = await run(AGENT, ["pay", `${world.url}/s/echo/down`, "--mandate", file, "--json"]);
    expect([down.code, down.json["error"].code]).deep.equal([6, "guard_unreachable"]);
    guard = await startGuard();
    expect((await run(AGENT, ["pay", `${world.url}/s/echo/up`, "--mandate", file, "--json"])).code).equal(0);
    const busy = await tallystick(["guard", "--port", "0", "--json"], { env: { ...at(PERSON, "http://127.0.0.1:1"), TALLYSTICK_KEYSTORE_PASSWORD: "a long passphrase" } });
    expect(busy.json["error"].code).equal("guard_journal_busy");
  });

  it("revoke: ends it, starts the withdrawals, and nothing is paid any more", async () => {
    const only = await run(PERSON, ["mandate", "revoke", file, "--sign-only", "--json"]);
    expect(only.json["signature"]).match(/^0x[0-9a-f]{130}$/);
    expect((await run(AGENT, ["mandate", "revoke", file, "--json"])).json["error"].code).equal("revoke_refused");
    const revoked = await run(PERSON, ["mandate", "revoke", file, "--json"]);
    expect(revoked.code, revoked.stdout + revoked.stderr).equal(0);
    expect(revoked.json["withdrawals"]).length(1);
    const { json } = await run(PERSON, ["mandate", "show", file, "--json"]);
    expect(json).include({ state: "revoked" });
    expect(json["exposure"]).include({ agentKeyAtomic: "0" });
    await new Promise((later) => setTimeout(later, 1_100)); // the guard's view of the chain may be a second old
    const late = await run(AGENT, ["pay", `${world.url}/s/echo/late`, "--mandate", file, "--json"]);
    expect([late.code, late.json["error"].code]).deep.equal([3, "mandate_revoked"]);
  });

  it("says what is wrong with the command line", async () => {
    for (const [args, code] of [
      [["mandate", "create", "--limit", "5"], "usage"], [["mandate", "create", "--agent", addressOf(AGENT)], "usage"], [["mandate", "create", "--agent", addressOf(AGENT), "--limit", "5", "--period", "1d"], "usage"],
      [["mandate", "show", "0xdeadbeef"], "mandate_unknown"], [["mandate", "show", "/nonexistent.json"], "mandate_unknown"], [["policy", "test", "/nonexistent.json"], "file_unreadable"],
    ] as [string[], string][]) {
      const ran = await run(PERSON, [...args, "--json"]);
      expect([ran.code, ran.json["error"].code], args.join(" ")).deep.equal([2, code]);
    }
  });
});
