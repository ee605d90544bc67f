// Attack: a delegate signs itself, or a helper, a sub-mandate that allows more than its own.
import { expect } from "chai";
import { keccak256, stringToBytes, zeroHash, type Hex } from "viem";
import { payeesRoot } from "../../sdk/src/payees.ts";
import type { Mandate } from "../../sdk/src/mandate.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { asking, decided, granted, newKey, openChannels, overspent, paidCall, wireGrant } from "../support/mandated.ts";
import { idOfMandate, mandateOf, signBinding } from "../support/signed-mandates.ts";

const PRICE = 1_000n;
const tag = (name: string) => keccak256(stringToBytes(name));

describe("attack: sub-mandate wider than its parent", function () {
  this.timeout(180_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());

  it("registration is refused for every term that widens, and names it", async () => {
    const under = await granted(world, { limit: PRICE * 2n, paymentLimit: PRICE, capability: tag("echo") });
    const { principal, agent, mandate, mandateId } = under;
    const ask = await asking(world.url, agent);
    const sub = (change: Partial<Mandate>) => mandateOf(principal.address, agent.address, { ...mandate, parent: mandateId, salt: keccak256(newKey().address), ...change });
    const cases: [keyof Mandate, Partial<Mandate>][] = [
      ["limit", { limit: mandate.limit + 1n }], ["paymentLimit", { paymentLimit: mandate.paymentLimit + 1n }], ["validAfter", { validAfter: mandate.validAfter - 1 }], ["validUntil", { validUntil: mandate.validUntil + 1 }],
      ["principal", { principal: agent.address }], ["token", { token: newKey().address }], ["epoch", { epoch: 1 }], ["capability", { capability: zeroHash }], ["capability", { capability: tag("another") }],
    ];
    for (const [field, change] of cases) {
      const wider = sub(change);
      const answer = await ask("POST", "", { lineage: [await wireGrant(agent, wider)] });
      expect([answer.status, answer.body.code, answer.body["field"]], field).deep.equal([403, "mandate_too_wide", `lineage[0].mandate.${field}`]);
      expect((await ask("GET", `/${idOfMandate(wider)}`)).status, field).equal(404);
    }
    expect((await ask("POST", "", { lineage: [await wireGrant(agent, sub({}))] })).status).equal(201);
  });

  it("a sub-mandate that names its own period, or any payee, is still held to its parent's", async () => {
    const elsewhere = newKey().address;
    const nowS = Math.floor(Date.now() / 1000);
    const principal = newKey();
    const [agent, helper, guard] = [newKey(), newKey(), newKey()];
    const payees = [elsewhere];
    const root = mandateOf(principal.address, agent.address, { limit: PRICE * 5n, period: 86_400, periodLimit: PRICE, validAfter: nowS - 60, payeesRoot: payeesRoot(payees) });
    const sub = mandateOf(principal.address, helper.address, { parent: idOfMandate(root), limit: PRICE * 5n, validAfter: nowS - 60, validUntil: root.validUntil });
    const ask = await asking(world.url, agent);
    const guards = [{ authorizer: guard.address, signature: await signBinding(guard, idOfMandate(sub)) }];
    const lineage = [await wireGrant(agent, sub), { ...(await wireGrant(principal, root)), payees }];
    expect((await ask("POST", "", { lineage, guards })).status).equal(201);
    const [channel] = await openChannels(world, { principal, guard }, 1, PRICE * 10n);
    const call = await paidCall(world.chain, channel!, PRICE);
    expect((await decided(() => call(world.url))).body).include({ code: "mandate_payee", mandateId: idOfMandate(root), moved: "0" });
    expect(await overspent(world, idOfMandate(sub), [channel!])).deep.equal({ ledger: 0n, charged: 0n, chain: 0n });
  });

  it("children together never spend what their parent has not", async () => {
    const { principal, agent, mandate, mandateId } = await granted(world, { limit: PRICE * 3n });
    const ask = await asking(world.url, agent);
    const channels = [];
    const subs: Hex[] = [];
    for (let nth = 0; nth < 3; nth++) {
      const guard = newKey();
      const sub = mandateOf(principal.address, newKey().address, { parent: mandateId, limit: PRICE * 2n, validAfter: mandate.validAfter, validUntil: mandate.validUntil });
      subs.push(idOfMandate(sub));
      await ask("POST", "", { lineage: [await wireGrant(agent, sub)], guards: [{ authorizer: guard.address, signature: await signBinding(guard, idOfMandate(sub)) }] });
      channels.push(...(await openChannels(world, { principal, guard }, 1, PRICE * 10n)));
    }
    const calls = await Promise.all(channels.flatMap((channel) => [5n, 6n, 7n].map((ceiling) => paidCall(world.chain, channel, PRICE * ceiling))));
    const answers = await Promise.all(calls.map((call) => decided(() => call(world.url))));
    expect(answers.filter(({ status }) => status === 200)).lengthOf(3);
    expect(answers.filter(({ status }) => status !== 200).every(({ body }) => body.code === "mandate_exhausted" && [mandateId, ...subs].includes(body.mandateId!))).equal(true);
    for (const sub of subs) expect((await overspent(world, sub, [])).ledger).equal(0n);
    expect(await overspent(world, mandateId, channels)).deep.equal({ ledger: 0n, charged: 0n, chain: 0n });
  });
});
