<?php
// Receives Daybook's milestones: proves each one genuine, takes it once, and answers 2xx.
//
//   SECRET=whsec_… php -S 127.0.0.1:3000 receiver.php
//
// Any framework's route can do the same; the library standard-webhooks/standard-webhooks has a verify() of its own.

declare(strict_types=1);

const TOLERANCE = 300; // seconds

/** Whether the body came from Daybook, a short while ago: https://www.standardwebhooks.com */
function is_genuine(string $secret, string $id, string $timestamp, string $signatures, string $body): bool
{
    if (!str_starts_with($secret, 'whsec_') || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $key = base64_decode(substr($secret, strlen('whsec_')), true);
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", (string) $key, true));
    foreach (explode(' ', $signatures) as $signature) { // several while a secret is replaced
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

/** In place of a table of yours with the id as its key: what is taken is noted together with what it changes. */
function take(string $id, array $webhook): void
{
    $taken = sys_get_temp_dir() . '/daybook-' . hash('sha256', $id);
    if (file_exists($taken)) {
        return; // sent at least once: this was taken before
    }
    $payment = $webhook['data']['payment'] ?? null;
    if ($webhook['type'] === 'payment.succeeded' && $payment !== null) {
        error_log("ship {$payment['reference']}: {$payment['captured']} {$payment['currency']} are paid");
    }
    touch($taken);
}

$body = file_get_contents('php://input'); // as it came: parsed and written anew it is another
$header = fn (string $name): string => $_SERVER['HTTP_WEBHOOK_' . $name] ?? '';
if (!is_genuine((string) getenv('SECRET'), $header('ID'), $header('TIMESTAMP'), $header('SIGNATURE'), $body)) {
    error_log(getenv('SECRET') ? 'not genuine, or too old' : 'set SECRET: whsec_…');
    http_response_code(400); // not 2xx: Daybook sends it again
    exit;
}
take($header('ID'), json_decode($body, true, flags: JSON_THROW_ON_ERROR));
http_response_code(204);
