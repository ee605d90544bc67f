// The firewall's paths: policies, check with its two layers, events paged and streamed, and a policy tried on history.
import { expect } from "chai";
import { privateKeyToAccount } from "viem/accounts";
import type { LocalAccount } from "viem";
import { POLICY_FORMAT } from "../../sdk/src/firewall/policy.ts";
import { encodeHeader } from "../support/buyer.ts";
import { keyOf } from "../support/config.ts";
import { applyPolicy, asOwner, inForce, payerOf, policyOf, postTo, signPolicy, type Refused } from "../support/firewall.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("firewall paths", function () {
  this.timeout(240_000);
  const stranger = privateKeyToAccount(keyOf(8));
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
  });
  after(() => world.stop());

  const get = async (path: string, as?: LocalAccount, headers: Record<string, string> = {}) => fetch(`${world.url}${path}`, { headers: { ...(as === undefined ? {} : await asOwner(world.url, as)), ...headers } });
  const body = async (response: Response) => (await response.json()) as Record<string, any>;
  const codeOf = async (response: Response) => [response.status, ((await response.json()) as Refused).code];
  const check = async (wire: unknown, as?: LocalAccount, at = "/api/firewall/check") => postTo(`${world.url}${at}`, wire, as === undefined ? {} : await asOwner(world.url, as));

  it("a policy is put in force by its owner's signature; versions only go up, and the same again changes nothing", async () => {
    const { account } = await payerOf(world);
    const one = policyOf(account.address, { price: { max: "5000" } });
    const first = await applyPolicy(world.url, account, one);
    expect([first.status, (await body(first))["policy"]["version"]]).deep.equal([201, 1]);
    expect((await applyPolicy(world.url, account, one)).status).equal(200);
    expect(await codeOf(await applyPolicy(world.url, account, policyOf(account.address, { price: { max: "9000" } })))).deep.equal([409, "policy_version_stale"]);
    expect((await applyPolicy(world.url, account, policyOf(account.address, {}, { version: 7 }))).status).equal(201);
    expect(await codeOf(await applyPolicy(world.url, account, one))).deep.equal([409, "policy_version_stale"]);
    const listed = (await body(await get("/api/v1/firewall/policies", account)))["policies"];
    expect(listed.map((entry: any) => [entry.policy.name, entry.policy.version])).deep.equal([["spending", 7]]);
    const versions = (await body(await get("/api/firewall/policies/spending/versions", account)))["policies"];
    expect(versions.map((entry: any) => entry.policy.version)).deep.equal([7, 1]);
    expect(await codeOf(await get("/api/v1/firewall/policies/spending", stranger))).deep.equal([404, "policy_unknown"]);
    expect((await get("/api/v1/firewall/policies")).status).equal(401);
  });

  it("a malformed policy is 400 with the field, and no other chain's or key's signature does", async () => {
    const { account } = await payerOf(world);
    const policy = policyOf(account.address);
    const wrong = await postTo(`${world.url}/api/v1/firewall/policies`, { policy: { ...policy, rules: { ...policy.rules, allowEverything: true } }, signature: await signPolicy(account, policy) });
    expect(await body(wrong)).include({ code: "policy_malformed", field: "policy.rules.allowEverything", status: 400 });
    const post = async (signature: string) => codeOf(await postTo(`${world.url}/api/v1/firewall/policies`, { policy, signature }));
    expect(await post(await signPolicy(stranger, policy))).deep.equal([401, "policy_signature_invalid"]);
    expect(await post(await signPolicy(account, policy, 8453))).deep.equal([401, "policy_signature_invalid"]);
    expect(await post(await signPolicy(account, policyOf(account.address, {}, { version: 2 })))).deep.equal([401, "policy_signature_invalid"]);
    expect(await post("0x1234")).deep.equal([401, "policy_signature_invalid"]);
    expect((await world.relayer.deps.db.query("SELECT 1 FROM firewall_policy WHERE owner = $1", [Buffer.from(account.address.slice(2), "hex")])).rowCount).equal(0);
  });

  it("check: a payment as it would be sent, a session, a negotiation; nothing is written by asking", async () => {
    const payer = await payerOf(world);
    const { channelId, buyer, required } = await payer.channel();
    const payment = await buyer.voucherPayment(required, 2_000n);
    const rows = async () => (await world.relayer.deps.db.query("SELECT (SELECT count(*) FROM firewall_event) + (SELECT count(*) FROM firewall_approval) + (SELECT count(*) FROM payment) AS n")).rows[0].n;
    expect(await body(await check({ payment }))).include({ decision: "APPROVED", rule: "none", proof: null });
    await inForce(world.url, payer.account, policyOf(payer.account.address, { price: { max: "999" } }));
    const before = await rows();
    for (const [wire, as] of [[{ payment }, undefined], [{ payment: encodeHeader(payment) }, undefined], [{ payment: await payer.exactPayment() }, undefined], [{ sessionId: channelId, service: "echo" }, payer.account], [{ negotiation: { service: "echo", priceAtomic: "1000" } }, payer.account]] as const) {
      const told = await body(await check(wire, as, "/api/v1/firewall/check"));
      expect(told, JSON.stringify(wire)).include({ decision: "REJECTED", rule: "price.max" });
      expect(told["proof"]).include({ type: "money_never_moved", money_never_moved: true });
    }
    expect(await body(await check({ sessionId: channelId, service: "echo", priceAtomic: "999" }, payer.account))).include({ decision: "APPROVED", rule: "all" });
    expect(await codeOf(await check({ sessionId: channelId }))).deep.equal([401, "access_required"]);
    expect(await codeOf(await check({ sessionId: channelId }, stranger))).deep.equal([404, "not_found"]);
    expect((await check({})).status).equal(400);
    expect((await check({ sessionId: channelId, payment })).status).equal(400);
    const forged = { ...payment, payload: { ...payment.payload, voucher: { ...(payment.payload["voucher"] as object), maxClaimableAmount: "3000" } } };
    expect((await codeOf(await check({ payment: forged })))[1]).equal("voucher_signature_invalid");
    expect(await rows()).equal(before);
  });

  it("the two-layer message is answered with the proof it expects, the same for the same key", async () => {
    const payer = await payerOf(world);
    const paid = await payer.exact();
    const paymentId = paid.headers.get("tallystick-payment-id")!;
    const ask = (idempotencyKey: string, expected: string, inputs: unknown, change: object = {}) => check({ intent: "Buy today's weather", action: { type: "payment", idempotencyKey, inputs, expected, ...change } }, payer.account);
    const done = await body(await ask("k1", "txHash", { paymentId }));
    expect(done).include({ decision: "APPROVED" });
    expect(done["proof"].txHash).match(/^0x[0-9a-f]{64}$/);
    expect(done["action"]).deep.equal({ type: "payment", idempotencyKey: "k1", expected: "txHash", met: true });
    expect(await body(await ask("k1", "txHash", { paymentId }))).deep.equal(done);
    expect(await codeOf(await ask("k1", "money_never_moved", { paymentId }))).deep.equal([409, "idempotency_conflict"]);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }));
    const blocked = (await (await payer.exact()).json()) as Refused;
    const never = await body(await ask("k2", "money_never_moved", { paymentId: blocked.paymentId }));
    expect(never).include({ decision: "REJECTED", rule: "stop" });
    expect(never["action"]).include({ met: true });
    expect(never["proof"]).include({ type: "money_never_moved", money_never_moved: true, status: "NEVER", paymentId: blocked.paymentId });
    expect((await body(await ask("k3", "txHash", { paymentId: blocked.paymentId })))["action"]).include({ met: false });
    for (const change of [{ extra: 1 }, { expected: "a good feeling" }, { idempotencyKey: "" }, { inputs: { paymentId, hint: 1 } }]) expect((await ask("k4", "txHash", { paymentId }, change)).status, JSON.stringify(change)).equal(400);
  });

  it("events are for those concerned: the newest first in pages, and as they happen", async () => {
    const payer = await payerOf(world);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { stop: true }));
    const stream = await get("/api/firewall/events", payer.account, { accept: "text/event-stream", "last-event-id": "0-0" });
    const ids: string[] = [];
    for (let n = 0; n < 3; n++) ids.push(((await (await payer.exact()).json()) as Refused).paymentId);
    const page = async (query: string) => body(await get(`/api/firewall/events?limit=2${query}`, payer.account));
    const first = await page("");
    expect(first["events"].map((event: any) => event.paymentId)).deep.equal([ids[2], ids[1]]);
    const rest = await page(`&cursor=${first["cursor"]}`);
    expect(rest["events"].map((event: any) => [event.kind, event.paymentId])).deep.equal([["payment.rejected", ids[0]], ["kill.set", null]]);
    expect((await body(await get("/api/v1/firewall/events", stranger)))["events"]).deep.equal([]);
    expect((await get("/api/firewall/events")).status).equal(401);
    const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
    let seen = "";
    while (!ids.every((id) => seen.includes(id))) seen += (await reader.read()).value ?? "";
    await reader.cancel();
    expect(seen.match(/^event: .*$/gm)).deep.equal(["event: firewall.policy.applied", "event: firewall.kill.set", ...ids.map(() => "event: firewall.payment.rejected")]);
  });

  it("a policy is tried on what has happened before it is in force", async () => {
    const from = new Date();
    const payer = await payerOf(world);
    const { pay } = await payer.channel();
    for (const ceiling of [2_000n, 3_000n]) expect((await pay(ceiling)).status).equal(200);
    expect((await payer.exact()).status).equal(200);
    await inForce(world.url, payer.account, policyOf(payer.account.address, { capabilities: { allow: ["weather"] } }));
    expect((await pay(4_000n)).status).equal(403);
    const policies = async () => (await world.relayer.deps.db.query("SELECT count(*) AS n FROM firewall_policy")).rows[0].n;
    const before = await policies();
    const simulate = async (rules: object, as: LocalAccount = payer.account) =>
      postTo(`${world.url}/api/v1/firewall/simulate`, { policy: { ...policyOf(payer.account.address, rules), version: 2 }, from: from.toISOString(), to: new Date().toISOString() }, await asOwner(world.url, as));
    const strict = await body(await simulate({ price: { max: "999" } }));
    expect(strict).deep.include({ considered: { count: 5, amountAtomic: "5000" }, wouldReject: { count: 4, amountAtomic: "4000" }, wouldAllow: { count: 0, amountAtomic: "0" }, unchanged: { count: 1, amountAtomic: "1000" }, byRule: { "price.max": { count: 4, amountAtomic: "4000" } } });
    expect(strict["examples"][0]).include({ before: "APPROVED", after: "REJECTED", rule: "price.max", service: "echo" });
    expect(await body(await simulate({}))).deep.include({ wouldReject: { count: 0, amountAtomic: "0" }, wouldAllow: { count: 1, amountAtomic: "1000" } });
    expect(await body(await simulate({ approval: { above: "1", approvers: [stranger.address], expiresS: 60 } }))).deep.include({ wouldWait: { count: 4, amountAtomic: "4000" } });
    expect(await codeOf(await simulate({}, stranger))).deep.equal([403, "policy_not_yours"]);
    expect(await codeOf(await postTo(`${world.url}/api/v1/firewall/simulate`, { policy: { format: POLICY_FORMAT }, from: from.toISOString(), to: new Date().toISOString() }, await asOwner(world.url, stranger)))).deep.equal([400, "policy_malformed"]);
    expect(await policies()).equal(before);
  });
});
