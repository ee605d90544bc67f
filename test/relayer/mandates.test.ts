// Mandates over HTTP, on a real chain with the registry: register, show, pay, revoke, follow the chain.
import { expect } from "chai";
import { encodeFunctionData, zeroHash, type Address, type Hex, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { signIn } from "../../sdk/src/access.ts";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { toWireMandate } from "../../sdk/src/lineage.ts";
import { mandateRevocationTypes } from "../../sdk/src/mandate-messages.ts";
import { mandateRegistryDomain, type Mandate } from "../../sdk/src/mandate.ts";
import { payeesRoot } from "../../sdk/src/payees.ts";
import { receiptSigner, RECEIPT_EXTENSION, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { manualBuyer, settleOf } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { idOfMandate, MANDATE_DOMAIN, mandateOf, signBinding, signMandate } from "../support/signed-mandates.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const key = () => privateKeyToAccount(generatePrivateKey());
const RECEIVER = addressOf(ROLE.receiver);

describe("mandates", function () {
  this.timeout(180_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());

  /** Calls as somebody who is signed in. */
  async function asking(account: LocalAccount) {
    const { token } = await signIn({ relayerUrl: world.url, account });
    return async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
      const response = await fetch(`${world.url}/api/v1/mandates${path}`, {
        method, headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: (await response.json()) as any };
    };
  }
  const grant = async (grantor: LocalAccount, mandate: Mandate, payees?: Address[]) => ({ mandate: toWireMandate(mandate), signature: await signMandate(grantor, mandate), ...(payees === undefined ? {} : { payees }) });

  /** A principal with USDC, a mandate for an agent, and a guard's key bound to it. */
  async function granted(change: Partial<Mandate> = {}) {
    const [principal, agent, guard] = [key(), key(), key()];
    const mandate = mandateOf(principal.address, agent.address, change);
    const mandateId = idOfMandate(mandate);
    const ask = await asking(principal);
    const guards = [{ authorizer: guard.address, signature: await signBinding(guard, mandateId) }];
    const registered = await ask("POST", "", { lineage: [await grant(principal, mandate)], guards });
    expect(registered.status, JSON.stringify(registered.body)).equal(201);
    return { principal, agent, guard, mandate, mandateId, ask, shown: registered.body };
  }
  /** A channel of the principal under the guard's key, funded; its payments in order. */
  async function channelOf(principal: LocalAccount, guard: LocalAccount, url = world.url, salt: Hex = zeroHash) {
    await world.chain.mintUSDC(principal.address, 1_000_000n);
    const payer = manualBuyer(principal, `${url}/s/echo/hello`, salt);
    const signer = manualBuyer(guard, `${url}/s/echo/hello`, salt);
    const terms = await payer.terms();
    const config = { ...payer.configFor(terms), payerAuthorizer: guard.address };
    const { channelIdOf } = await import("../../sdk/src/typed-data.ts");
    const { DOMAIN } = await import("../support/buyer.ts");
    const channelId = channelIdOf(DOMAIN, config);
    let ceiling = 0n;
    const deposit = { amount: "500000", authorization: await payer.authorization(channelId, 500_000n) };
    return {
      channelId,
      pay: async (change: { first?: boolean; url?: string } = {}) => {
        ceiling += 1_000n;
        const voucher = await signer.voucher(channelId, ceiling);
        const payload = change.first === true ? { type: "deposit", channelConfig: config, voucher, deposit } : { type: "voucher", channelConfig: config, voucher };
        const response = await payer.send(payer.envelope(await payer.terms(), payload), {}, change.url ?? `${url}/s/echo/hello`);
        if (response.status !== 200) ceiling -= 1_000n;
        const receipt = response.status === 200 ? (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions[RECEIPT_EXTENSION]!.info.receipt : undefined;
        return { status: response.status, receipt, body: (await response.json()) as { code?: string; mandateId?: string; detail?: string; moved?: string } };
      },
    };
  }
  const sendFrom = async (account: LocalAccount, to: Address, data: Hex): Promise<bigint> => {
    await rpc(world.chain.url, "hardhat_setBalance", [account.address, "0x56bc75e2d63100000"]);
    const nonce = await world.chain.client.getTransactionCount({ address: account.address });
    const raw = await account.signTransaction!({ type: "eip1559", chainId: BASE_SEPOLIA.chainId, to, data, nonce, gas: 2_000_000n, maxFeePerGas: 10_000_000_000n, maxPriorityFeePerGas: 1n });
    const hash = await world.chain.client.sendRawTransaction({ serializedTransaction: raw });
    const { status, blockNumber } = await world.chain.client.waitForTransactionReceipt({ hash });
    expect(status).equal("success");
    return blockNumber;
  };
  const until = async (done: () => Promise<boolean>): Promise<number> => {
    const began = performance.now();
    for (;;) {
      if (await done()) return performance.now() - began;
      if (performance.now() - began > 30_000) throw new Error("it took too long");
      await new Promise((next) => setTimeout(next, 10));
    }
  };

  it("registers, shows, lists, and pays within it", async () => {
    const { principal, agent, guard, mandate, mandateId, ask, shown } = await granted({ limit: 3_500n, period: 3_600, periodLimit: 2_000n });
    expect(shown).deep.include({ mandateId, status: "active", depth: 0, maxAtomic: "3500", spentAtomic: "0", remainingAtomic: "2000", max_amount_usd: "0.0035", amount_spent_usd: "0" });
    expect(shown.guards.map(({ authorizer }: { authorizer: string }) => authorizer)).deep.equal([guard.address]);
    const channel = await channelOf(principal, guard);
    expect(await channel.pay({ first: true })).include({ status: 200 });
    const paid = await channel.pay();
    expect(paid).include({ status: 200 });
    expect(paid.receipt!.payload).include({ mandate: mandateId, offer: zeroHash, session: zeroHash, slaMet: 0 });
    expect(await receiptSigner(paid.receipt!)).equal(world.relayer.deps.keyring.active);
    const refused = await channel.pay();
    expect(refused).include({ status: 403 });
    expect(refused.body).include({ code: "mandate_period_limit", mandateId, moved: "0" });
    const now = (await ask("GET", `/${mandateId}`)).body;
    expect(now).deep.include({ spentAtomic: "2000", reservedAtomic: "0", remainingAtomic: "0", amount_spent_usd: "0.002" });
    expect(now.period).include({ limitAtomic: "2000", spentAtomic: "2000", remainingAtomic: "0" });
    const asAgent = await asking(agent);
    expect((await asAgent("GET", "")).body.mandates.map((one: { mandateId: string }) => one.mandateId)).deep.equal([mandateId]);
    expect((await asAgent("GET", `/${mandateId}/remaining`)).body).include({ remainingAtomic: "0", status: "active" });
    const first = (await ask("GET", `/${mandateId}/history?limit=1`)).body;
    const second = (await ask("GET", `/${mandateId}/history?limit=1&before=${first.next}`)).body;
    expect([...first.payments, ...second.payments].map(({ state, chargedAtomic, payee }: Record<string, string>) => [state, chargedAtomic, payee])).deep.equal([["charged", "1000", RECEIVER], ["charged", "1000", RECEIVER]]);
    const stranger = await asking(key());
    for (const path of ["", "/remaining", "/history", "/tree"]) expect(await stranger("GET", `/${mandateId}${path}`), path).deep.include({ status: 404 });
    expect((await fetch(`${world.url}/api/v1/mandates/${mandateId}`)).status).equal(401);
    expect((await ask("POST", "", { lineage: [await grant(principal, mandate)] })).status).equal(200);
  });

  it("sub-mandates: their parent's budget is charged, the tree shows it, the root's own figures too", async () => {
    const { principal, agent, mandate, mandateId, ask } = await granted({ limit: 3_000n });
    const [subAgent, subGuard] = [key(), key()];
    const sub = { ...mandateOf(principal.address, subAgent.address, { limit: 1_000n, parent: mandateId, validAfter: mandate.validAfter, validUntil: mandate.validUntil }) };
    const subId = idOfMandate(sub);
    const asAgent = await asking(agent);
    // The root is known here, so it may be left out.
    const registered = await asAgent("POST", "", { lineage: [await grant(agent, sub)] });
    expect(registered.status, JSON.stringify(registered.body)).equal(201);
    const bound = await fetch(`${world.url}/api/v1/mandates/${subId}/guards`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ authorizer: subGuard.address, signature: await signBinding(subGuard, subId) }) });
    expect(bound.status).equal(200);
    const channel = await channelOf(principal, subGuard);
    expect((await channel.pay({ first: true })).status).equal(200);
    expect((await channel.pay()).body).include({ code: "mandate_exhausted", mandateId: subId });
    const tree = (await ask("GET", `/${mandateId}/tree`)).body;
    expect(tree.nodes.map(({ mandateId: id, parent, depth, spentAtomic, remainingAtomic }: Record<string, unknown>) => [id, parent, depth, spentAtomic, remainingAtomic])).deep.equal([[mandateId, null, 0, "1000", "2000"], [subId, mandateId, 1, "1000", "0"]]);
    expect((await (await asking(subAgent))("GET", `/${subId}/tree`)).body.nodes).lengthOf(1);
  });

  it("an idempotency key registers one mandate", async () => {
    const principal = key();
    const ask = await asking(principal);
    const [one, other] = [mandateOf(principal.address, key().address), mandateOf(principal.address, key().address)];
    const keyed = { "idempotency-key": "mandate-of-today" };
    expect((await ask("POST", "", { lineage: [await grant(principal, one)] }, keyed)).status).equal(201);
    expect((await ask("POST", "", { lineage: [await grant(principal, one)] }, keyed)).status).equal(200);
    const [third, signed] = [{ "idempotency-key": "sent-twice" }, [await grant(principal, mandateOf(principal.address, key().address))]];
    const atOnce = await Promise.all(Array.from({ length: 8 }, () => ask("POST", "", { lineage: signed }, third)));
    expect(atOnce.map(({ status }) => status).sort()).deep.equal([200, 200, 200, 200, 200, 200, 200, 201]);
    expect(await ask("POST", "", { lineage: [await grant(principal, other)] }, keyed)).nested.include({ status: 409, "body.code": "idempotency_key_conflict" });
  });

  it("refuses what is not signed, not narrower, not whole, or not the caller's", async () => {
    const { principal, agent, mandate, mandateId, ask, guard } = await granted();
    const narrower = (change: Partial<Mandate> = {}) => mandateOf(principal.address, key().address, { parent: mandateId, validAfter: mandate.validAfter, validUntil: mandate.validUntil, ...change });
    const payee = key().address;
    const cases: [string, number, string, unknown[]][] = [
      ["signed by another", 403, "mandate_signature_invalid", [await grant(agent, mandateOf(principal.address, agent.address))]],
      ["a sub-mandate signed by the principal", 403, "mandate_signature_invalid", [await grant(principal, narrower())]],
      ["unsigned and not approved on the chain", 403, "mandate_signature_invalid", [{ ...(await grant(principal, mandateOf(principal.address, agent.address))), signature: "0x" }]],
      ["wider", 403, "mandate_too_wide", [await grant(agent, narrower({ limit: mandate.limit + 1n }))]],
      ["no such parent", 404, "mandate_parent_unknown", [await grant(agent, narrower({ parent: `0x${"12".repeat(32)}` }))]],
      ["another's payees", 403, "mandate_invalid", [await grant(principal, mandateOf(principal.address, agent.address, { payeesRoot: payeesRoot([payee]) }), [key().address])]],
      ["payees left out", 403, "mandate_invalid", [await grant(principal, mandateOf(principal.address, agent.address, { payeesRoot: payeesRoot([payee]) }))]],
      ["over already", 403, "mandate_expired", [await grant(principal, mandateOf(principal.address, agent.address, { validUntil: Math.floor(Date.now() / 1000) - 60 }))]],
      ["an amount that is a number", 400, "mandate_malformed", [{ ...(await grant(principal, mandateOf(principal.address, agent.address))), mandate: { ...toWireMandate(mandate), limit: "1.5" } }]],
    ];
    for (const [name, status, code, lineage] of cases) {
      const answer = await ask("POST", "", { lineage });
      expect([answer.status, answer.body.code], `${name}: ${answer.body.detail}`).deep.equal([status, code]);
    }
    const foreign = await (await asking(key()))("POST", "", { lineage: [await grant(principal, mandateOf(principal.address, agent.address))] });
    expect([foreign.status, foreign.body.code]).deep.equal([403, "mandate_foreign"]);
    const other = await granted();
    const again = { authorizer: guard.address, signature: await signBinding(guard, other.mandateId) };
    // Bound for another principal: another channel's payer, so another thing.
    expect((await ask("POST", `/${other.mandateId}/guards`, again)).status).equal(200);
    const second = mandateOf(principal.address, agent.address);
    await ask("POST", "", { lineage: [await grant(principal, second)] });
    const moved = await ask("POST", `/${idOfMandate(second)}/guards`, { authorizer: guard.address, signature: await signBinding(guard, idOfMandate(second)) });
    expect([moved.status, moved.body.code]).deep.equal([409, "guard_bound"]);
    const forged = await ask("POST", `/${mandateId}/guards`, { authorizer: key().address, signature: await signBinding(guard, mandateId) });
    expect([forged.status, forged.body.code]).deep.equal([403, "guard_signature_invalid"]);
  });

  it("revokes at once in every process, by the principal or the parent's delegate, and says what the chain must be told", async () => {
    const { principal, agent, guard, mandate, mandateId, ask } = await granted();
    const subAgent = key();
    const sub = mandateOf(principal.address, subAgent.address, { parent: mandateId, validAfter: mandate.validAfter, validUntil: mandate.validUntil });
    const asAgent = await asking(agent);
    await asAgent("POST", "", { lineage: [await grant(agent, sub)] });
    const another = await world.anotherRelayer();
    const [here, there] = [await channelOf(principal, guard), await channelOf(principal, guard, another.url, `0x${"01".padStart(64, "0")}`)];
    expect([(await here.pay({ first: true })).status, (await there.pay({ first: true })).status]).deep.equal([200, 200]);
    expect((await asAgent("DELETE", `/${mandateId}`)).body.code).equal("not_revoker");
    expect((await (await asking(subAgent))("POST", `/${idOfMandate(sub)}/revoke`)).body.code).equal("not_revoker");
    expect((await asAgent("POST", `/${idOfMandate(sub)}/revoke`)).body.ended).deep.equal([idOfMandate(sub)]);
    const revoked = await ask("DELETE", `/${mandateId}`);
    expect(revoked.status, JSON.stringify(revoked.body)).equal(200);
    expect(revoked.body.ended).deep.equal([mandateId, idOfMandate(sub)]);
    expect(revoked.body.channels.map(({ sessionId }: { sessionId: string }) => sessionId)).have.members([here.channelId, there.channelId]);
    for (const channel of [here, there]) expect((await channel.pay()).body).include({ code: "mandate_revoked", mandateId });
    expect(revoked.body.transaction).include({ to: LOCAL_MANDATE_REGISTRY, from: principal.address });
    await sendFrom(principal, revoked.body.transaction.to, revoked.body.transaction.data);
    await until(async () => (await ask("GET", `/${mandateId}`)).body.onChain.revoked);
    expect((await ask("POST", `/${mandateId}/revoke`)).body.transaction).equal(null);
  });

  it("takes the signature that the contract takes, from anybody", async () => {
    const { principal, mandateId, ask } = await granted();
    const signature = await principal.signTypedData({ domain: MANDATE_DOMAIN, types: mandateRevocationTypes, primaryType: "MandateRevocation", message: { mandateId } });
    const send = (body: unknown) => fetch(`${world.url}/api/v1/mandates/${mandateId}/revoke`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    expect((await send({ by: principal.address, signature: await principal.signMessage({ message: "revoke" }) })).status).equal(403);
    const revoked = await (await send({ by: principal.address, signature })).json() as { transaction: { to: Address; data: Hex; from: null } };
    expect(revoked.transaction.from).equal(null);
    await sendFrom(key(), revoked.transaction.to, revoked.transaction.data);
    expect((await ask("GET", `/${mandateId}`)).body.status).equal("revoked");
  });

  it("a revocation on the chain is heard of from its block on; a reorganisation that undoes it brings the mandate back", async () => {
    const { principal, guard, mandate, mandateId, ask } = await granted();
    const channel = await channelOf(principal, guard);
    expect((await channel.pay({ first: true })).status).equal(200);
    const snapshot = await rpc<Hex>(world.chain.url, "evm_snapshot", []);
    await sendFrom(principal, LOCAL_MANDATE_REGISTRY, encodeFunctionData({ abi: mandateRegistryAbi, functionName: "revoke", args: [[mandate]] }));
    const tookMs = await until(async () => (await channel.pay()).status === 403);
    process.stdout.write(`      from the revocation's block to the first refusal: ${tookMs.toFixed(0)} ms\n`);
    expect((await channel.pay()).body).include({ code: "mandate_revoked", mandateId });
    expect((await ask("GET", `/${mandateId}`)).body).nested.include({ status: "revoked", "onChain.revoked": true, revokedBy: null });
    await rpc(world.chain.url, "evm_revert", [snapshot]);
    await rpc(world.chain.url, "hardhat_setPrevRandao", [generatePrivateKey()]);
    await world.chain.mineBlocks(4);
    await until(async () => (await ask("GET", `/${mandateId}`)).body.status === "active");
    expect((await channel.pay()).status).equal(200);
  });

  it("a new epoch on the chain ends all mandates of the one before", async () => {
    const { principal, guard, mandateId, ask } = await granted();
    const channel = await channelOf(principal, guard);
    expect((await channel.pay({ first: true })).status).equal(200);
    await sendFrom(principal, LOCAL_MANDATE_REGISTRY, encodeFunctionData({ abi: mandateRegistryAbi, functionName: "bumpEpoch" }));
    await until(async () => (await channel.pay()).status === 403);
    expect((await channel.pay()).body).include({ code: "mandate_revoked", mandateId });
    expect((await ask("GET", `/${mandateId}`)).body.onChain.epoch).equal(1);
    const late = mandateOf(principal.address, key().address);
    const answer = await ask("POST", "", { lineage: [await grant(principal, late)] });
    expect([answer.status, answer.body.code]).deep.equal([403, "mandate_revoked"]);
  });

  it("signatures for another chain or another registry register nothing", async () => {
    const principal = key();
    const ask = await asking(principal);
    const mandate = mandateOf(principal.address, key().address);
    for (const domain of [mandateRegistryDomain(8453, LOCAL_MANDATE_REGISTRY), mandateRegistryDomain(BASE_SEPOLIA.chainId, key().address)]) {
      const answer = await ask("POST", "", { lineage: [{ mandate: toWireMandate(mandate), signature: await signMandate(principal, mandate, domain) }] });
      expect([answer.status, answer.body.code]).deep.equal([403, "mandate_signature_invalid"]);
    }
  });
});
