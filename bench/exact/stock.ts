// The official facilitator as a process of its own, at its best: a nonce manager, so that settlements may be under way at the same
// time, and reads joined into JSON-RPC batches.
import { nonceManager } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import type { Hex } from "viem";
import { startStockFacilitator } from "../../test/support/stock-facilitator.ts";
import { answer, optionsOf } from "../load/part.ts";

export type StockOptions = { rpcUrl: string; key: Hex };

const { rpcUrl, key } = optionsOf<StockOptions>();
const facilitator = await startStockFacilitator(rpcUrl, privateKeyToAccount(key, { nonceManager }), undefined, { batch: true });

process.once("SIGTERM", () => void facilitator.stop().then(() => process.exit(0)));
answer(facilitator.url, {});
