// An audit log that a real relayer sealed, exported and verified by the command line alone.
import { expect } from "chai";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keyOf } from "../support/config.ts";
import { tallystick } from "../support/cli.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const OPERATOR = "operator-token-of-at-least-32-characters";

describe("tallystick audit", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let folder = "";
  const path = (name: string) => join(folder, name);

  before(async () => {
    world = await startTestWorld({ env: { RELAYER_OPERATOR_TOKEN: OPERATOR } });
    folder = await mkdtemp(join(tmpdir(), "tallystick-audit-"));
    const { audit } = world.relayer.deps;
    for (let seal = 0; seal < 3; seal++) {
      for (let entry = 0; entry < 5; entry++) audit.record({ kind: "payment.approved", subject: `pay_${seal}_${entry}`, payer: world.chain.account(entry % 2).address });
      await audit.flush();
    }
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const env = () => ({ TALLYSTICK_RELAYER_URL: world.relayer.deps.config.publicUrl });

  it("export then verify: 0; the relayer need not be there", async () => {
    const exported = await tallystick(["audit", "export", "-o", path("all.jsonl")], { env: { ...env(), TALLYSTICK_OPERATOR_TOKEN: OPERATOR } });
    expect([exported.code, exported.stderr]).to.deep.equal([0, ""]);
    const ran = await tallystick(["audit", "verify", path("all.jsonl"), "--signer", world.relayer.deps.keyring.active, "--json"]);
    expect(ran.json).to.deep.include({ ok: true, fault: null, scope: "all", entries: 15, seals: 3, epochs: 1, signers: [world.relayer.deps.keyring.active] });
    expect(ran.code).to.equal(0);
    expect((await tallystick(["audit", "verify", path("all.jsonl")])).stdout).to.match(/^whole and unchanged\n/);
  });

  it("a party's own entries, by its key, through a pipe", async () => {
    const exported = await tallystick(["audit", "export"], { env: { ...env(), TALLYSTICK_PRIVATE_KEY: keyOf(1) } });
    expect(exported.stderr).to.equal("");
    const ran = await tallystick(["audit", "verify", "-", "--json"], { stdin: exported.stdout });
    expect(ran.json).to.deep.include({ ok: true, scope: world.chain.account(1).address, entries: 6 });
  });

  it("names the first bad line, with exit code 1", async () => {
    const lines = (await readFile(path("all.jsonl"), "utf8")).trimEnd().split("\n");
    const nth = lines.findIndex((line) => line.includes("pay_1_2"));
    const judged = async (changed: readonly string[]) => {
      await writeFile(path("bad.jsonl"), `${changed.join("\n")}\n`);
      const { code, json } = await tallystick(["audit", "verify", path("bad.jsonl"), "--json"]);
      return [code, json["fault"].line, json["fault"].code];
    };
    expect(await judged(lines.with(nth, lines[nth]!.replace("pay_1_2", "pay_1_3")))).to.deep.equal([1, nth + 1, "hash_mismatch"]);
    expect(await judged(lines.toSpliced(nth, 1))).to.deep.equal([1, nth + 1, "sequence_broken"]);
    expect(await judged(lines.with(nth, lines[nth + 1]!).with(nth + 1, lines[nth]!))).to.deep.equal([1, nth + 1, "sequence_broken"]);
    expect(await judged(lines.slice(0, -1))).to.deep.equal([1, lines.length, "truncated"]);
    const text = await tallystick(["audit", "verify", path("bad.jsonl")]);
    expect([text.code, text.stdout.split("\n")[0]]).to.deep.equal([1, `line ${lines.length}: truncated: The file ends before its end line: it was cut off.`]);
    expect((await tallystick(["audit", "verify", path("all.jsonl"), "--signer", world.chain.account(3).address, "--json"])).json["fault"]).to.include({ code: "signer_unexpected" });
  });

  it("a file that cannot be read: 2; a stranger without key or token: told so", async () => {
    expect((await tallystick(["audit", "verify", path("none.jsonl")])).code).to.equal(2);
    expect((await tallystick(["audit", "verify", path("all.jsonl"), "--signer", "0x12"])).code).to.equal(2);
    expect((await tallystick(["audit", "export", "--json"], { env: { ...env(), TALLYSTICK_OPERATOR_TOKEN: "wrong" } })).json).to.have.nested.property("error.code", "access_denied");
  });
});
