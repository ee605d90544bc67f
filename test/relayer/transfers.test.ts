// Payment by transaction hash as a buyer without any SDK makes it: real transfers, plain fetch, personal_sign. And by those who would
// like an answer for a transfer that is not theirs, is not enough, or was for something else.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { encodeFunctionData, erc20Abi, pad, parseUnits, zeroHash, type Abi, type Hex, type LocalAccount } from "viem";
import { sweepTransfers } from "../../relayer/src/capabilities/transfers/service.ts";
import { signIn } from "../../sdk/src/access.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { receiptSigner, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { encodeHeader, settleOf } from "../support/buyer.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";

const PRICE = 1000n;
const USDC = BASE_SEPOLIA.usdc;
type Terms = { requestId: string; recipient: Hex; token: Hex; amountUsdc: string; amountAtomic: string; chainId: number; network: string; confirmations: number; message: string; expiresAt: string; graceUntil: string };
type Problem = { code: string; field?: string; [member: string]: unknown };

describe("payment by transaction hash", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let chainOf: Sessions;
  let buyer: LocalAccount;
  let flaky: Server;
  /** What the flaky service answers next. */
  let flakyStatus = 200;

  before(async () => {
    flaky = createServer((_request, response) => {
      response.statusCode = flakyStatus;
      response.end("late but here");
    });
    await new Promise<void>((done) => flaky.listen(0, "127.0.0.1", done));
    world = await startTestWorld({ sweepsByHand: true });
    chainOf = new Sessions(world.chain);
    buyer = world.chain.account(2);
    for (const index of [2, 3, 4]) await world.chain.mintUSDC(world.chain.account(index).address, parseUnits("100", 6));
    await world.relayer.deps.db.query("INSERT INTO service SELECT 'flaky', $1, '', receiver, token, price_atomic, min_deposit_calls, withdraw_delay_s, upstream_timeout_ms FROM service WHERE name = 'echo'", [
      `http://127.0.0.1:${(flaky.address() as AddressInfo).port}`,
    ]);
  });
  after(async () => {
    await world.stop();
    flaky.closeAllConnections();
    await new Promise((done) => flaky.close(done));
  });

  const post = (path: string, body: unknown, headers: Record<string, string> = {}, origin = world.url) =>
    fetch(origin + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  async function ask(what: Record<string, unknown> = {}, headers: Record<string, string> = {}): Promise<Terms> {
    const response = await post("/api/pay/request", { providerId: "echo", ...what }, headers);
    expect(response.status, await response.clone().text()).to.equal(402);
    return ((await response.json()) as { payment: Terms }).payment;
  }
  const transferData = (to: Hex, value: bigint) => encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [to, value] });
  const transfer = async (to: Hex, value: bigint, from = buyer): Promise<Hex> => (await chainOf.sendTo(from, USDC.address, transferData(to, value))).hash;
  const proofOf = async ({ requestId, message }: Terms, txHash: Hex, by = buyer) => ({ requestId, txHash, signature: await by.signMessage({ message }) });
  async function paid(what: Record<string, unknown> = {}) {
    const terms = await ask(what);
    const txHash = await transfer(terms.recipient, BigInt(terms.amountAtomic));
    return { terms, txHash, proof: await proofOf(terms, txHash) };
  }
  const submit = (body: unknown, origin = world.url) => post("/api/pay/submit", body, {}, origin);
  const told = async (response: Response) => {
    const { code, field } = (await response.json()) as Problem;
    return [response.status, code, field];
  };
  const purchases = async (account = buyer) => {
    const { publicUrl } = world.relayer.deps.config;
    const { token } = await signIn({ relayerUrl: publicUrl, account });
    const get = (path: string) => fetch(publicUrl + path, { headers: { authorization: `Bearer ${token}` } });
    return { get, list: ((await (await get("/api/purchases")).json()) as { purchases: { requestId: string; status: string; txHash: string; amountUsdc: string; service: string }[] }).purchases };
  };

  it("sells for a transfer, and gives the same answer to the same submit", async () => {
    const terms = await ask({ method: "POST", path: "/hello?a=1", body: "hi", contentType: "text/plain" });
    expect(terms).to.include({ recipient: addressOf(ROLE.receiver), token: USDC.address, amountUsdc: "0.001", amountAtomic: "1000", chainId: 84532, confirmations: 1 });
    const txHash = await transfer(terms.recipient, PRICE);
    const runs = world.provider.seen.length;
    const proof = await proofOf(terms, txHash);
    const first = await submit({ ...proof, expectedAmountUsdc: "0.001000", providerId: "echo", recipient: terms.recipient.toLowerCase(), token: terms.token, chainId: 84532, payer: buyer.address });
    expect(first.status, await first.clone().text()).to.equal(200);
    const body = await first.text();
    expect(JSON.parse(body)).to.include({ method: "POST", url: "/hello?a=1", body: "hi" });
    expect(settleOf(first)).to.include({ success: true, transaction: txHash, amount: "1000", payer: buyer.address });
    const receipt = JSON.parse(atob(first.headers.get("x-402-receipt")!)) as SignedReceipt;
    expect(receipt.payload).to.include({ scheme: "transfer", payer: buyer.address, amount: "1000" });
    expect(await receiptSigner(receipt)).to.equal(addressOf(ROLE.authorizer));
    const again = await submit(proof);
    expect([again.status, await again.text(), again.headers.get("payment-response")]).to.deep.equal([200, body, first.headers.get("payment-response")]);
    expect(world.provider.seen.length - runs).to.equal(1);
    const { get, list } = await purchases();
    expect(list.find(({ requestId }) => requestId === terms.requestId)).to.include({ status: "delivered", txHash, amountUsdc: "0.001", service: "echo" });
    expect(await (await get(`/api/purchases/${terms.requestId}`)).text()).to.equal(body);
    const stranger = await purchases(world.chain.account(4));
    expect([stranger.list, ...(await told(await stranger.get(`/api/purchases/${terms.requestId}`)))]).to.deep.equal([[], 404, "request_unknown", "requestId"]);
    expect((await fetch(`${world.url}/api/purchases`)).status).to.equal(401);
  });

  it("the same Idempotency-Key is the same request; another body under it is a conflict", async () => {
    const key = { "idempotency-key": "key-1" };
    const [first, second] = await Promise.all([ask({ path: "/a" }, key), ask({ path: "/a" }, key)]);
    expect(second).to.deep.equal(first);
    expect(await told(await post("/api/pay/request", { providerId: "echo", path: "/b" }, key))).to.deep.equal([409, "idempotency_conflict", "Idempotency-Key"]);
    expect(await told(await post("/api/pay/request", { providerId: "echo", path: "/../admin" }))).to.deep.equal([400, "path_refused", "path"]);
    expect((await post("/api/pay/request", { providerId: "echo", body: "x".repeat(70_000) })).status).to.equal(413);
  });

  it("two requests that race for one transfer in two processes: one is delivered", async () => {
    const [one, two] = [await ask({ path: "/one" }), await ask({ path: "/two" })];
    const txHash = await transfer(one.recipient, PRICE);
    const second = await world.anotherRelayer();
    const proofs = [await proofOf(one, txHash), await proofOf(two, txHash)];
    const runs = world.provider.seen.length;
    const all = await Promise.all(Array.from({ length: 12 }, (_, n) => submit(proofs[n % 2], n % 4 < 2 ? world.url : second.url)));
    const bodies = new Set(await Promise.all(all.filter(({ status }) => status === 200).map((response) => response.text())));
    expect([bodies.size, world.provider.seen.length - runs]).to.deep.equal([1, 1]);
    const refused = await Promise.all(all.filter(({ status }) => status !== 200).map(told));
    expect(refused).to.deep.equal(Array.from({ length: 6 }, () => [402, "transfer_used", "txHash"]));
  });

  it("a transfer is its sender's alone", async () => {
    const { terms, txHash, proof } = await paid();
    const thief = world.chain.account(3);
    const theirs = await ask();
    expect(await told(await submit(await proofOf(theirs, txHash, thief)))).to.deep.equal([402, "sender_signature_invalid", "signature"]);
    expect(await told(await submit(await proofOf(terms, txHash, thief)))).to.deep.equal([402, "sender_signature_invalid", "signature"]);
    expect(await told(await submit({ ...proof, requestId: theirs.requestId }))).to.deep.equal([402, "sender_signature_invalid", "signature"]);
    expect((await submit(proof)).status).to.equal(200);
  });

  it("a contract wallet signs as it checks signatures, and no longer when it refuses", async () => {
    const { client } = world.chain;
    const { abi, bytecode } = JSON.parse(readFileSync(new URL("../../artifacts/contracts/test-support/Wallets.sol/ScriptedWallet.json", import.meta.url), "utf8")) as { abi: Abi; bytecode: Hex };
    const deployed = await client.waitForTransactionReceipt({ hash: await client.deployContract({ abi, bytecode, args: [buyer.address], account: world.chain.account(6), chain: null }) });
    const wallet = deployed.contractAddress!;
    await world.chain.mintUSDC(wallet, PRICE);
    await client.setBalance({ address: wallet, value: parseUnits("1", 18) });
    await client.impersonateAccount({ address: wallet });
    const terms = await ask();
    const hash = await client.sendTransaction({ account: wallet, chain: null, to: USDC.address, data: transferData(terms.recipient, PRICE) });
    await client.waitForTransactionReceipt({ hash });
    const setMode = async (mode: number) => chainOf.sendTo(buyer, wallet, encodeFunctionData({ abi, functionName: "setMode", args: [mode, 0n] }));
    for (const mode of [1, 2]) {
      await setMode(mode);
      expect(await told(await submit(await proofOf(terms, hash)))).to.deep.equal([402, "sender_signature_invalid", "signature"]);
    }
    await setMode(0);
    expect(await told(await submit(await proofOf(terms, hash, world.chain.account(3))))).to.deep.equal([402, "sender_signature_invalid", "signature"]);
    const response = await submit(await proofOf(terms, hash));
    expect([response.status, settleOf(response).transaction]).to.deep.equal([200, hash]);
  });

  it("only a transfer of exactly that, to exactly there, made for it, pays", async () => {
    const terms = await ask();
    const runs = world.provider.seen.length;
    const tries: [Hex, string, string][] = [
      [await transfer(terms.recipient, PRICE - 1n), "amount_mismatch", "expectedAmountUsdc"],
      [await transfer(terms.recipient, PRICE + 1n), "amount_mismatch", "expectedAmountUsdc"],
      [await transfer(world.chain.account(5).address, PRICE), "recipient_mismatch", "recipient"],
      [(await chainOf.sendTo(buyer, world.chain.account(5).address, "0x")).hash, "transfer_missing", "txHash"],
    ];
    for (const [txHash, code, field] of tries) expect(await told(await submit(await proofOf(terms, txHash)))).to.deep.equal([402, code, field]);
    const under = (await (await submit(await proofOf(terms, tries[0]![0]))).json()) as Problem;
    expect(under).to.include({ expectedAmountUsdc: "0.001", paidAmountUsdc: "0.000999" });
    const old = await paid();
    await world.relayer.deps.db.query("UPDATE pay_request SET created_at = created_at + interval '1 hour' WHERE request_id = $1", [old.terms.requestId]);
    expect(await told(await submit(old.proof))).to.deep.equal([402, "transfer_too_old", "txHash"]);
    const unknown = await submit(await proofOf(terms, zeroHash));
    expect([unknown.status, await unknown.json()]).to.deep.equal([202, { status: "pending", confirmations: 0, needed: 1 }]);
    expect(world.provider.seen.length).to.equal(runs);
  });

  it("what the body says of the decision is compared and never believed", async () => {
    const { proof } = await paid();
    const other = world.chain.account(5).address;
    const forged: [string, unknown][] = [["expectedAmountUsdc", "0.0001"], ["amountAtomic", "1"], ["providerId", "flaky"], ["recipient", other], ["token", other], ["chainId", 8453], ["network", "eip155:1"], ["payer", other]];
    for (const [field, value] of forged) expect(await told(await submit({ ...proof, [field]: value }))).to.deep.equal([409, "decision_mismatch", field]);
    expect((await submit({ ...proof, signature: "0x12zz" })).status).to.equal(400);
    expect((await submit(proof)).status).to.equal(200);
  });

  it("waits for as many blocks as the amount needs", async () => {
    await world.chain.client.setIntervalMining({ interval: 0 });
    try {
      const careful = await world.anotherRelayer({ RELAYER_TRANSFER_CONFIRMATIONS: "0:1,1000:4,1000000000:9" });
      const { proof } = await paid();
      const depth = async () => {
        const response = await submit(proof, careful.url);
        return [response.status, response.headers.get("retry-after"), response.status === 202 ? await response.json() : undefined];
      };
      for (const confirmations of [1, 2, 3]) {
        expect(await depth()).to.deep.equal([202, "2", { status: "pending", confirmations, needed: 4 }]);
        await world.chain.mineBlocks(1);
      }
      expect(await depth()).to.deep.equal([200, null, undefined]);
    } finally {
      await world.chain.client.setIntervalMining({ interval: 1 });
    }
  });

  it("a payout of SessionChannels pays for nothing, whoever asks", async () => {
    const { client } = world.chain;
    const receiver = world.chain.account(ROLE.receiver);
    const config = { payer: buyer.address, payerAuthorizer: buyer.address, receiver: receiver.address, receiverAuthorizer: receiver.address, token: USDC.address, withdrawDelay: 900, salt: pad("0x77") };
    await chainOf.deposit(config, buyer, PRICE);
    const terms = await ask();
    await chainOf.send(receiver, "claim", [await chainOf.claimRows([{ config, voucherKey: buyer, totalClaimed: PRICE }])]);
    const { hash } = await chainOf.send(receiver, "settle", [receiver.address, USDC.address]);
    const [log] = await client.getContractEvents({ address: USDC.address, abi: erc20Abi, eventName: "Transfer", args: { from: SESSION_CHANNELS, to: receiver.address }, fromBlock: 0n });
    expect([log?.transactionHash, log?.args.value]).to.deep.equal([hash, PRICE]);
    for (const by of [buyer, receiver]) expect(await told(await submit(await proofOf(terms, hash, by)))).to.deep.equal([402, "payout_not_payment", "txHash"]);
  });

  it("owes the answer while the service fails, and delivers it to the same transfer", async () => {
    flakyStatus = 500;
    const { terms, proof } = await paid({ providerId: "flaky" });
    expect((await submit(proof)).status).to.equal(500);
    const statusOf = async () => (await purchases()).list.filter(({ requestId }) => requestId === terms.requestId).map(({ status }) => status);
    expect(await statusOf()).to.deep.equal(["paid_undelivered"]);
    expect((await told(await (await purchases()).get(`/api/purchases/${terms.requestId}`))).slice(0, 2)).to.deep.equal([409, "paid_undelivered"]);
    await world.relayer.deps.db.query("UPDATE pay_request SET grace_until = now() - interval '1 day' WHERE request_id = $1", [terms.requestId]);
    flakyStatus = 200;
    const delivered = await submit(proof);
    expect([delivered.status, await delivered.text()]).to.deep.equal([200, "late but here"]);
    expect(await statusOf()).to.deep.equal(["delivered"]);
  });

  it("takes a late payment in the grace, at the price of the request, and none after it", async () => {
    const { db } = world.relayer.deps;
    const [late, never] = [await paid(), await paid()];
    await db.query("UPDATE pay_request SET expires_at = now() - interval '1 minute' WHERE request_id = ANY($1)", [[late.terms.requestId, never.terms.requestId]]);
    await db.query("UPDATE pay_request SET grace_until = now() - interval '1 second' WHERE request_id = $1", [never.terms.requestId]);
    await db.query("UPDATE service SET price_atomic = 5000 WHERE name = 'echo'");
    const response = await submit(late.proof);
    await db.query("UPDATE service SET price_atomic = 1000 WHERE name = 'echo'");
    expect([response.status, settleOf(response).amount]).to.deep.equal([200, "1000"]);
    const refused = await submit(never.proof);
    expect([404, 410], "swept or expired").to.include(refused.status);
    expect(["request_unknown", "request_expired"]).to.include(((await refused.json()) as Problem).code);
  });

  it("is taken in X-402-Payment too: a proof, a receipt; a bare hash proves nothing", async () => {
    const url = `${world.url}/s/echo/x`;
    const { txHash, proof } = await paid({ method: "POST", path: "/x", body: "b", contentType: "text/plain" });
    const buy = (header: string, body = "b") => fetch(url, { method: "POST", body, headers: { "content-type": "text/plain", "x-402-payment": header } });
    const bare = await buy(txHash);
    expect([bare.headers.has("payment-required"), ...(await told(bare))]).to.deep.equal([true, 402, "sender_proof_needed", "X-402-Payment"]);
    expect(await told(await buy(encodeHeader(proof), "other"))).to.deep.equal([409, "request_mismatch", "requestId"]);
    expect((await told(await buy(encodeHeader({ txHash })))).slice(0, 2)).to.deep.equal([400, "payment_malformed"]);
    const first = await buy(encodeHeader(proof));
    expect(first.status, await first.clone().text()).to.equal(200);
    const runs = world.provider.seen.length;
    const receipt = JSON.parse(atob(first.headers.get("x-402-receipt")!)) as SignedReceipt;
    const again = await buy(encodeHeader(receipt));
    expect([again.status, await again.text()]).to.deep.equal([200, await first.text()]);
    expect(await told(await buy(encodeHeader(receipt), "other"))).to.deep.equal([409, "request_mismatch", "X-402-Payment"]);
    const forged = { ...receipt, payload: { ...receipt.payload, amount: "1" } };
    expect(await told(await buy(encodeHeader(forged)))).to.deep.equal([402, "receipt_invalid", "X-402-Payment"]);
    expect(world.provider.seen.length).to.equal(runs);
  });

  it("a flood of unpaid requests is refused, and sweeping never forgets one that is owed", async () => {
    const { db } = world.relayer.deps;
    flakyStatus = 500;
    const { terms, proof } = await paid({ providerId: "flaky" });
    expect((await submit(proof)).status).to.equal(500);
    await db.query(`INSERT INTO pay_request (request_id, service, method, path, headers, body, request_hash, price_atomic, receiver, token, source, expires_at, grace_until)
      SELECT 'req_' || lpad(to_hex(n), 32, '0'), service, method, path, headers, body, request_hash, price_atomic, receiver, token, source, expires_at, grace_until
      FROM pay_request, generate_series(1, 500) AS n WHERE request_id = $1`, [terms.requestId]);
    const flooded = await post("/api/pay/request", { providerId: "flaky" });
    expect([flooded.headers.get("retry-after"), ...(await told(flooded))]).to.deep.equal(["60", 503, "requests_flooded", undefined]);
    await ask(); // another service goes on
    await db.query("UPDATE pay_request SET grace_until = now() - interval '1 second' WHERE service = 'flaky'");
    await sweepTransfers(world.relayer.deps);
    const { rows } = await db.query("SELECT request_id FROM pay_request WHERE service = 'flaky' AND (request_id = $1 OR NOT paid)", [terms.requestId]);
    expect(rows).to.deep.equal([{ request_id: terms.requestId }]);
    flakyStatus = 200;
    expect((await submit(proof)).status).to.equal(200);
    expect((await ask({ providerId: "flaky" })).requestId).to.match(/^req_/);
  });

  it("the example buys with a wallet and fetch", async () => {
    const child = spawn(process.execPath, ["docs/examples/pay-by-transfer.ts", world.url, "echo", "/example", world.chain.url], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.end(keyOf(3));
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    const [code] = (await once(child, "close")) as [number];
    expect(code, said).to.equal(0);
    expect(said).to.match(/"url":"\/example"[\s\S]*\n0\.001 USDC, transaction 0x[0-9a-f]{64}, payment pay_[0-9a-f]{32}\n$/);
  });
});
