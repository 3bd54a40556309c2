// Made by `make schemas` from the JSON Schemas beside it.

/** A provider's own event, as DAYBOOK_EVENT_BUS_RAW publishes it. */
export type RawEvent = {
  /** The provider's id of it. */
  id: string;
  /** provider:id of what it is about. */
  subject: string;
  /** True where somebody was notified of it before. */
  replay?: boolean;
  /** As the provider sent it; left out where it is over 250 kB. */
  event?: Record<string, unknown>;
};

/** Something that has become true of a payment, subscription or payout, once. */
export type Milestone = {
  /** The same each time that somebody is notified of it: an idempotency key. */
  id: string;
  /** Such as payment.succeeded. */
  type: string;
  /** The provider's time. */
  at: string;
  /** In the currency's minor unit; null where it is of no money. */
  amount: number | null;
  /** The provider's id of what it is of: a refund, a dispute, an invoice. */
  object: string | null;
  /** What else is told with it, by its type. */
  detail?: Record<string, unknown>;
  /** True where somebody was notified of it before. */
  replay?: boolean;
};

/** What is sent of a milestone: of a payment, a subscription or a payout. */
export type Notification = {
  payment: Payment;
  milestone: Milestone;
} | {
  subscription: Subscription;
  milestone: Milestone;
} | {
  payout: Payout;
  milestone: Milestone;
};

/** One payment, as of now: the fold of all its events. */
export type Payment = {
  /** provider:id */
  id: string;
  provider: string;
  status: "disputed" | "charged_back" | "refunded" | "partially_refunded" | "succeeded" | "canceled" | "authorized" | "failed" | "requires_action" | "processing" | "created";
  livemode: boolean | null;
  /** A connected account's id, or the name of one of the stage's further accounts. */
  account: string | null;
  /** ISO 4217. */
  currency: string | null;
  /** What was asked for, in the currency's minor unit, as all amounts. */
  amount: number;
  authorized: number;
  captured: number;
  refunded: number;
  disputed: number;
  /** captured - refunded - disputed */
  net: number;
  /** False where the events contradict one another, or one is missing. */
  consistent: boolean;
  /** The provider's id. */
  customer: string | null;
  /** The user's own id of what was bought, or of who bought it. */
  reference: string | null;
  /** What the stage keeps of what was written into the payment. */
  metadata: Record<string, string>;
  /** What is known of the provider's own balance, in its currency; null while nothing is. */
  settled: {
    currency: string | null;
    gross: number;
    fee: number;
    /** gross - fee */
    net: number;
    exchange_rate: string | null;
    /** All that moved is in it. */
    complete: boolean;
  } | null;
  /** The provider's ids of its charges, refunds, disputes, orders, by kind. */
  related: Record<string, Array<string>>;
  created_at: string;
  updated_at: string;
  milestones: Array<Milestone>;
};

/** What was sent to the bank. */
export type Payout = {
  /** provider:id */
  id: string;
  provider: string;
  status: "pending" | "in_transit" | "paid" | "canceled" | "failed";
  livemode: boolean | null;
  account: string | null;
  currency: string | null;
  amount: number;
  automatic: boolean | null;
  method: string | null;
  /** A date: by then the bank should have it. */
  arrival_date: string | null;
  /** The bank's own reference. */
  trace_id: string | null;
  failure: string | null;
  /** What it is made of; null while that is not known. */
  transactions: {
    count: number;
    gross: number;
    fee: number;
    net: number;
    by_kind: Record<string, {
      count: number;
      gross: number;
      fee: number;
      net: number;
    }>;
  } | null;
  /** False where they do not add up to it. */
  consistent: boolean;
  created_at: string;
  updated_at: string;
  milestones: Array<Milestone>;
  customer: null;
  reference: null;
};

/** One subscription, without what depends on the instant. */
export type Subscription = {
  /** provider:id */
  id: string;
  provider: string;
  status: "pending" | "trialing" | "active" | "past_due" | "unpaid" | "paused" | "ended";
  /** The provider's own word. */
  provider_status: string | null;
  livemode: boolean | null;
  /** A connected account's id, or the name of one of the stage's further accounts. */
  account: string | null;
  test_clock: string | null;
  customer: string | null;
  reference: string | null;
  metadata: Record<string, string>;
  items: Array<{
    /** The provider's own. */
    id: string | null;
    price: string | null;
    product: string | null;
    quantity: number | null;
    /** Of one, in the minor unit. */
    amount: number | null;
    currency: string | null;
    /** Such as 1 month. */
    interval: string | null;
    period_start: string | null;
    period_end: string | null;
    paid_through: string | null;
  }>;
  started_at: string | null;
  trial_ends_at: string | null;
  /** The earliest item's. */
  paid_through: string | null;
  cancel_at: string | null;
  ended_at: string | null;
  ended_reason: "requested" | "payment_failed" | "disputed" | "never_paid" | "completed" | "other" | null;
  provider_reason: string | null;
  pause: "service" | "collection" | null;
  paused_until: string | null;
  /** A change that waits for its payment. */
  pending: Record<string, unknown> | null;
  past_due_since: string | null;
  failed_attempts: number;
  next_attempt_at: string | null;
  last_payment: {
    /** Its record's id. */
    payment: string | null;
    method: string | null;
    amount: number | null;
    currency: string | null;
    at: string;
    /** How it was taken back, if it was. */
    reversed: string | null;
  } | null;
  /** What is known says which state is the last. */
  certain: boolean;
  created_at: string | null;
  updated_at: string | null;
  milestones: Array<Milestone>;
};

/** What a target is sent: the body of a request that is signed by the Standard Webhooks scheme, or of a message in a queue. */
export type Webhook = {
  /** The milestone's type, or a raw event's after its provider's name. */
  type: string;
  /** When it happened, by the provider's time. */
  timestamp: string;
  data: Notification | RawEvent;
};
