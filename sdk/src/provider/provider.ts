// A provider with a server of its own: sells calls through the relayer's ledger, lists its service, keeps its vouchers. Knows nothing of any
// web framework; fastify.ts is one on top of it.
import { setTimeout as sleep } from "node:timers/promises";
import { isAddressEqual, type Address } from "viem";
import { parsePrice } from "../charge.ts";
import { TallystickError } from "../errors.ts";
import { createRelayerClient, type RelayerAccess, type RelayerClient } from "./relayer-client.ts";
import { take, type Incoming, type Taken } from "./sale.ts";
import { followVouchers } from "./voucher-export.ts";
import { openVoucherFile, type VoucherFile } from "./voucher-files-node.ts";

export type ProviderOptions = RelayerAccess & {
  /** Name of the service at the relayer. */
  service: string;
  /** Where buyers reach this server, no trailing slash: receipts name it, never the Host header. */
  publicUrl: string;
  /** Who is paid; the account when left out. Another one (a cold key) has to fetch its vouchers itself. */
  receiver?: Address;
  /** List the service, or bring its listing up to date, at the start. Left out: it is listed already. */
  list?: Listing;
  /** Keep the vouchers in this file (JSON lines, see voucher-files-node.ts). */
  voucherFile?: string;
  /** SessionChannels contract that vouchers must be for; not compared when left out. */
  contract?: Address;
  /** What goes wrong and nobody waits for. */
  onProblem?: (error: unknown) => void;
};

export type Listing = {
  /** What a call costs that says nothing else, such as "$0.001". */
  price: string;
  description?: string;
  /** A buyer's first deposit must pay for so many calls. */
  minDepositCalls?: number;
  withdrawDelayS?: number;
  /** How long a handler may take: the price is set aside for this time and a margin. */
  handlerTimeoutMs?: number;
};

export type Provider = {
  /** Takes the payment for a call; price in atomic units. Never throws: see sale.ts. */
  take(incoming: Incoming, price: bigint): Promise<Taken>;
  /**
   * Lists the service and begins to follow vouchers, as far as asked. A relayer that is away is asked again in the background.
   * @throws TallystickError when the listing is refused (`service_name_taken`), or `voucher_file_busy`.
   */
  start(): Promise<void>;
  stop(): Promise<void>;
};

const LIST_AGAIN_MS = 5_000;

/** @throws TallystickError `provider_options_invalid`. */
export function createProvider(options: ProviderOptions): Provider {
  const { service, list, voucherFile, onProblem = () => {} } = options;
  const receiver = receiverOf(options);
  const publicUrl = publicUrlOf(options.publicUrl);
  const client = createRelayerClient(options);
  const stopped = new AbortController();
  const running: Promise<void>[] = [];
  let file: VoucherFile | undefined;
  return {
    take: (incoming, price) => take({ client, service, publicUrl, onProblem }, incoming, price),
    async start() {
      if (voucherFile !== undefined) {
        file = await openVoucherFile(voucherFile);
        const expected = { ...(receiver === undefined ? {} : { receiver }), ...(options.contract === undefined ? {} : { contract: options.contract }) };
        running.push(followVouchers({ client, file, expected, onProblem, signal: stopped.signal }));
      }
      if (list === undefined) return;
      const wire = { name: service, url: publicUrl, ...wireOf(list), ...(receiver === undefined ? {} : { receiver }) };
      if (!(await listed(client, wire, onProblem))) running.push(listLater(client, wire, onProblem, stopped.signal));
    },
    async stop() {
      stopped.abort();
      await Promise.all(running);
      await file?.close();
    },
  };
}

function receiverOf({ account, receiver, voucherFile }: ProviderOptions): Address | undefined {
  if (voucherFile !== undefined && account !== undefined && receiver !== undefined && !isAddressEqual(account.address, receiver)) {
    throw optionsInvalid("voucherFile", `Vouchers are given to the receiver ${receiver} alone, and ${account.address} signs in.`);
  }
  return receiver ?? account?.address;
}

function publicUrlOf(url: string): string {
  const { protocol, search, hash, username, href } = URL.canParse(url) ? new URL(url) : { protocol: "", search: "", hash: "", username: "", href: "" };
  if (!/^https?:$/.test(protocol) || search !== "" || hash !== "" || username !== "") throw optionsInvalid("publicUrl", `publicUrl must be an http or https URL without query, fragment and credentials; ${url} is not.`);
  return href.replace(/\/+$/, "");
}

function optionsInvalid(field: string, detail: string): TallystickError {
  return new TallystickError({ code: "provider_options_invalid", status: 500, retry: "never", field, detail });
}

function wireOf({ price, description, minDepositCalls, withdrawDelayS, handlerTimeoutMs }: Listing): Record<string, unknown> {
  const given = { description, minDepositCalls, withdrawDelayS, upstreamTimeoutMs: handlerTimeoutMs };
  return { priceAtomic: parsePrice(price).toString(), ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
}

/** @returns false when the relayer is away. @throws TallystickError when it refuses. */
async function listed(client: RelayerClient, wire: Record<string, unknown> & { name: string }, onProblem: (error: unknown) => void): Promise<boolean> {
  try {
    await client.call("/api/v1/services", { method: "POST", body: wire }).catch((error: unknown) => {
      if (!(error instanceof TallystickError) || error.code !== "service_exists") throw error;
      return client.call(`/api/v1/services/${wire.name}`, { method: "PUT", body: wire });
    });
    return true;
  } catch (error) {
    if (!(error instanceof TallystickError) || error.status < 500) throw error;
    onProblem(error);
    return false;
  }
}

async function listLater(client: RelayerClient, wire: Parameters<typeof listed>[1], onProblem: (error: unknown) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(LIST_AGAIN_MS, undefined, { signal }).catch(() => {}); // aborted: the loop ends
    try {
      if (signal.aborted || (await listed(client, wire, onProblem))) return;
    } catch (error) {
      return onProblem(error); // refused: asking again changes nothing, and every take says so
    }
  }
}
