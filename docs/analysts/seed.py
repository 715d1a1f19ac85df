"""A day of an invented tenant: ordinary traffic, and attacks for an analyst to find.

The events depend on the end of the day only, so tests can count every expected result. People,
applications and ids are made up. Addresses are in public GeoIP databases, or for documentation
(RFC 5737): then the event's own location puts them on the map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

PEOPLE = ("anna", "ben", "carla", "david", "emma", "felix", "grace", "hugo", "ida", "jonas")
APPS = {
    "Shop web": "Xh4kQ2mVbT7pLz9R",
    "Shop mobile": "m2mT5vK8qWn1RzX4",
    "Warehouse sync": "cB7yHd2LsPf9GjEa",
}
PACIFIC = "America/Los_Angeles"
# Address → its place in `location_info`.
PLACES = {
    "81.2.69.143": ("London", "EU", "GB", "GBR", "United Kingdom", 51.51, -0.09, "Europe/London"),
    "89.160.20.112": ("Linköping", "EU", "SE", "SWE", "Sweden", 58.42, 15.62, "Europe/Stockholm"),
    "216.160.83.56": ("Seattle", "NA", "US", "USA", "United States", 47.61, -122.33, PACIFIC),
    "175.16.199.37": ("Changchun", "AS", "CN", "CHN", "China", 43.88, 125.32, "Asia/Shanghai"),
    "192.0.2.10": ("Berlin", "EU", "DE", "DEU", "Germany", 52.52, 13.41, "Europe/Berlin"),
    "192.0.2.20": ("Tokyo", "AS", "JP", "JPN", "Japan", 35.69, 139.69, "Asia/Tokyo"),
    "192.0.2.30": ("São Paulo", "SA", "BR", "BRA", "Brazil", -23.55, -46.63, "America/Sao_Paulo"),
    "198.51.100.10": ("Sydney", "OC", "AU", "AUS", "Australia", -33.87, 151.21, "Australia/Sydney"),
    "198.51.100.20": ("Mumbai", "AS", "IN", "IND", "India", 19.08, 72.88, "Asia/Kolkata"),
    "203.0.113.10": ("Toronto", "NA", "CA", "CAN", "Canada", 43.65, -79.38, "America/Toronto"),
    "203.0.113.20": ("Lagos", "AF", "NG", "NGA", "Nigeria", 6.45, 3.39, "Africa/Lagos"),
}
ATTACKER = "175.16.199.37"
# One home for each person.
HOMES = tuple(address for address in PLACES if address != ATTACKER)
BOTS = "203.0.113.10"
AGENTS = (
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:93.0) Gecko/20100101 Firefox/93.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
)
SESSION = "sess-carla-1"
WRONG = "Wrong email or password."
WEAK = "Password is too weak"
TAKEN = "The user already exists."
# Fields that all events from one machine share.
SYNC = {
    "ip": "216.160.83.56",
    "user_agent": "curl/8.9.1",
    "client_name": "Warehouse sync",
    "client_id": APPS["Warehouse sync"],
}


@dataclass
class Day:
    """Collects events by hour and minute since the start of the day."""

    start: datetime
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, hour: int, minute: float, type_: str, **data: Any) -> None:
        when = self.start + timedelta(hours=hour, minutes=minute)
        number = len(self.events)
        data = {"date": when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", "type": type_} | data
        data |= {"tenant_name": "shop-example", "hostname": "shop-example.eu.auth0.com"}
        if place := PLACES.get(data.get("ip", "")):
            names = ("city_name", "continent_code", "country_code", "country_code3", "country_name")
            names = (*names, "latitude", "longitude", "time_zone")
            data["location_info"] = dict(zip(names, place, strict=True))
        data["log_id"] = f"900{when:%Y%m%d%H%M%S}{number:038d}"
        self.events.append({"log_id": data["log_id"], "data": data})


def person(number: int) -> dict[str, Any]:
    """Returns the members that all events of one person share."""
    number %= len(PEOPLE)
    name = PEOPLE[number]
    return {
        "user_name": f"{name}@example.com",
        "user_id": f"auth0|{name}",
        "ip": HOMES[number],
        "user_agent": AGENTS[number % len(AGENTS)],
        "connection": "Username-Password-Authentication" if number % 3 else "google-oauth2",
    }


def app(name: str) -> dict[str, str]:
    return {"client_name": name, "client_id": APPS[name]}


def api(method: str, path: str, status: int, **request: Any) -> dict[str, Any]:
    """Returns the details of a Management API call."""
    return {
        "request": {"method": method, "path": path} | request,
        "response": {"statusCode": status},
    }


def risk(confidence: str) -> dict[str, Any]:
    kind = "impossible" if confidence == "low" else "minimal"
    travel = {"confidence": confidence, "code": f"{kind}_travel_from_last_login"}
    return {"confidence": confidence, "version": "1", "assessments": {"ImpossibleTravel": travel}}


def day(end: datetime) -> list[dict[str, Any]]:
    """Returns the events of the 24 hours before `end` as log stream events, oldest first."""
    made = Day(end - timedelta(hours=24))
    for hour in range(24):
        _ordinary(made, hour)
    _attacks(made)
    _changes(made)
    return sorted(made.events, key=lambda event: event["data"]["date"])


def _ordinary(made: Day, hour: int) -> None:
    """More traffic by day than by night."""
    visits = 5 + round(17 * math.sin(math.pi * hour / 24) ** 2)
    for visit in range(visits):
        # Some people come more often than others.
        turn = (3 * hour + 7 * visit) % 10
        who = person(turn if visit % 4 == 0 else turn * turn // 10)
        minute = 1 + visit * 50 / visits
        which = app("Shop mobile" if visit % 3 == 0 else "Shop web")
        if visit % 5 == 4:
            made.add(hour, minute - 0.5, "fp", description=WRONG, **who, **which)
        made.add(hour, minute, "s", details={"riskAssessment": risk("high")}, **who, **which)
        made.add(hour, minute + 0.1, "seacft", **who, **which)
        if visit % 2:
            made.add(hour, minute + 0.2, "gd_send_pn", **who)
            made.add(hour, minute + 0.4, "gd_auth_succeed", **who)
        if visit % 4 == 3:
            made.add(hour, minute + 5, "slo", **who, **which)
    made.add(hour, 30, "seccft", **SYNC)
    if hour % 6 == 0:
        new = {"user_name": f"new{hour}@example.net", "user_id": f"auth0|new{hour}"}
        made.add(hour, 40, "ss", ip=HOMES[0], user_agent=AGENTS[1], **new, **app("Shop web"))
        made.add(hour, 39, "fs", ip=HOMES[0], description=WEAK, **new, **app("Shop web"))


def _attacks(made: Day) -> None:
    tool = {
        "ip": ATTACKER,
        "user_agent": "python-requests/2.32",
        "security_context": {
            "ja3": "8d9f7747675e24454cd9b7ed35c58707",
            "ja4": "t13d1812h1_85036bcba153_375ca2c5e164",
        },
    }
    web, mobile = app("Shop web"), app("Shop mobile")
    for number in range(15):
        who = {"user_name": f"staff{number}@example.com", "description": WRONG}
        made.add(14, number * 0.5, "fu" if number % 3 else "fp", **who, **tool, **web)
    blocked = "An IP address is blocked with many failed login attempts"
    made.add(14, 8, "limit_mu", description=blocked, **tool)
    grace = {"user_name": "grace@example.com", "user_id": "auth0|grace"}
    made.add(14, 9, "s", details={"riskAssessment": risk("low")}, **grace, **tool, **web)
    for number in range(8):
        made.add(15, number, "gd_send_pn", **grace, **tool)
    for number in range(2):
        made.add(15, number + 0.5, "gd_auth_rejected", **grace, **tool)
    for number, name in enumerate(("emma", "hugo", "emma")):
        made.add(9 + number, 20, "pwd_leak", user_name=f"{name}@example.com", **tool)
    made.add(10, 50, "limit_wc", user_name="hugo@example.com", **tool)
    for number in range(9):
        who = {"user_name": f"staff{number}@example.com", "ip": BOTS, "user_agent": "curl/8.9.1"}
        made.add(
            13,
            20 + number,
            "fs" if number % 3 else "signup_pwd_leak",
            description=TAKEN,
            **who,
            **web,
        )
    family = {"user_id": "auth0|ida", "user_name": "ida@example.com"}
    for number, ip in enumerate((*HOMES[:3], ATTACKER, HOMES[0])):
        details = {"familyId": "fam-ida", "tokenCounter": number}
        made.add(11, 10 + number, "sertft", details=details, **family, ip=ip, **mobile)
    for number in range(3):
        made.add(12, 10 + number, "sertft", details={"familyId": "fam-ben"}, **person(1), **mobile)
    reused = {
        "description": "Unsuccessful Refresh Token exchange, reused refresh token detected",
        "details": {"familyId": "fam-ida", "tokenCounter": 2, "latestCounter": 4},
    }
    made.add(11, 20, "ferrt", **reused, **family, ip=ATTACKER, **mobile)


def _changes(made: Day) -> None:
    root = {"user_id": "auth0|admin", "name": "Root Admin", "email": "root@example.com"}
    by_root = partial(api, channel="https://manage.auth0.com/", auth={"user": root})
    # Events of the Management API have the name of who acted in the request alone.
    admin = {"user_id": "auth0|admin", "ip": "89.160.20.112"}
    admin |= {"client_name": "Dashboard", "client_id": "dash"}
    made.add(
        16,
        1,
        "mgmt_api_read",
        description="Get client by ID",
        details=by_root("get", "/api/v2/clients/abc", 200),
        **admin,
    )
    brute = "attack-protection/brute-force-protection"
    scope = ["read:users", "update:users"]
    for minute, (description, method, path, status, body) in enumerate(
        (
            ("Update Brute-force settings", "patch", brute, 200, {"enabled": False}),
            (
                "Assign roles to a user",
                "post",
                "users/auth0%7Cgrace/roles",
                204,
                {"roles": ["rol_admin"]},
            ),
            ("Create client grant", "post", "client-grants", 201, {"scope": scope}),
            ("Update a log stream", "patch", "log-streams/lst_1", 200, {"status": "paused"}),
        ),
        2,
    ):
        details = by_root(method, f"/api/v2/{path}", status, body=body)
        made.add(16, minute, "sapi", description=description, details=details, **admin)
    made.add(
        16,
        6,
        "sapi",
        description="Create tenant invitations for a given client",
        details=by_root("post", "/api/v2/tenants/invitations", 201),
        **admin,
    )
    desk = {"user_id": "auth0|desk", "name": "Help Desk", "email": "desk@example.com"}
    by_desk = partial(api, channel="https://manage.auth0.com/", auth={"user": desk})
    members = {"members": ["auth0|carla", "auth0|david"]}
    for hour, (description, method, path, body) in enumerate(
        (
            ("Update a user", "patch", "users/auth0%7Cben", {"blocked": True}),
            ("Add members to an organization", "post", "organizations/org_1/members", members),
            ("Update a user", "patch", "users/auth0%7Cben", {"blocked": False}),
            ("Delete authentication methods", "delete", "users/auth0%7Cemma/authenticators", {}),
        ),
        10,
    ):
        details = by_desk(method, f"/api/v2/{path}", 200, body=body)
        who = admin | {"user_id": desk["user_id"], "ip": HOMES[0]}
        made.add(hour, 42, "sapi", description=description, details=details, **who)
    for number in range(4):
        details = api("get", "/api/v2/users", 403 if number == 0 else 429)
        description = "You have reached the rate limit"
        made.add(17, number, "fapi", description=description, details=details, **SYNC)
    client = SYNC["client_id"]
    made.add(17, 10, "api_limit", description="Global limit has been reached", client_id=client)
    for number, type_ in enumerate(("s", "seacft", "scp", "slo")):
        details = {"session_id": SESSION}
        made.add(18, 10 + number, type_, details=details, **person(2), **app("Shop web"))
    made.add(19, 5, "du", user_id="auth0|old", user_name="old@example.com", ip="89.160.20.112")
    # A type missing from our table, and details that are not as Auth0 documents them.
    made.add(20, 5, "brand_new_type", description="Something new")
    made.add(20, 6, "fn", description="E-mail not sent", details="the mail server did not answer")
